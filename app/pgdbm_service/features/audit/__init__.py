"""A record of each request that changes something: principal, time, result."""
