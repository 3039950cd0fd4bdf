"""The connection pool, the service schema, and the meaning of the database's failures."""
