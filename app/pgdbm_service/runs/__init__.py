"""Runs: migrating as something that can be waited for, followed, cancelled, retried, and taken over by others."""
