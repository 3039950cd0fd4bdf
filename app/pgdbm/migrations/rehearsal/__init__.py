"""Executes pending migrations in a scratch schema that is dropped afterwards."""
