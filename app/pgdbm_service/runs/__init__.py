"""Runs: migrations that clients can follow, cancel and retry, and that another replica can take over."""
