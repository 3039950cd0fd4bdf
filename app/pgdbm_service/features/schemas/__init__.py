"""What the schemas of the database contain."""
