"""Who changed what, when, with what result."""
