"""What is applied and pending, per module and schema."""
