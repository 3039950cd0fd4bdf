"""Registered modules, their bundles, and the migrations repository."""
