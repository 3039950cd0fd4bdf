"""HTTP without any feature: problem documents, headers, pagination, OpenAPI."""
