"""What a database records: history, journal, catalog snapshots, and the advisory locks around them."""
