"""Modules: sets of migrations, where they stand, and applying them."""
