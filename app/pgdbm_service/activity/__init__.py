"""What the database is busy with, and what the service counts."""
