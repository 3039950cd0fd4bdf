"""Blocking and long-running queries of the database, the pool, metrics."""
