"""Registering modules, and reading the migrations repository again."""
