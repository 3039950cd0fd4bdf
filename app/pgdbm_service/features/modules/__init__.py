"""Modules: their state, migrations, history and plan."""
