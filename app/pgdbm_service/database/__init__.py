"""The connection pool, the service schema, and what the database's failures mean."""
