"""Walking a table in batches: its key, the position, the size of the batches, and when to wait. Knows no files."""
