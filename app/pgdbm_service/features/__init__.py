"""One package per feature of the HTTP API; none imports another."""
