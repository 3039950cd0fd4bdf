"""The commands that ask a running service, each in a file. Read for ``--help``: nothing here takes time to import."""
