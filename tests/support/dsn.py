"""Connection strings of the tests' servers."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def through(port: int, dsn: str) -> str:
    """``dsn`` with a port of this machine in place of its server, such as that of a proxy."""
    parts = urlsplit(dsn)
    user_info = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{user_info}@127.0.0.1:{port}"))
