"""Applying a plan: transactions, non-transactional files, retries, the errors of statements."""
