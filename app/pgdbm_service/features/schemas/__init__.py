"""What the schemas of the database hold."""
