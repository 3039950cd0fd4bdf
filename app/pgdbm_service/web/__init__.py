"""HTTP code that belongs to no feature: problem documents, headers, pagination, OpenAPI."""
