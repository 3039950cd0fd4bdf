"""Where migrations come from, and how their text becomes statements."""
