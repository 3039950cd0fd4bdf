"""The commands that call a running service. Imported for ``--help``, so imports here must be fast."""
