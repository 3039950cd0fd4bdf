"""The tokens of the service: made, listed, revoked."""
