"""Migrating modules, and following, cancelling and retrying runs."""
