"""Where a request may come from: without auth this machine only, and never another site's page."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import Problem
from ..request_headers import header_of
from ..settings import is_loopback

if TYPE_CHECKING:
    from litestar.types import Scope

_READING = frozenset({"GET", "HEAD", "OPTIONS"})


def require_loopback(scope: Scope) -> None:
    """Refuse what did not come over loopback, however the server was told to listen.

    The Host header counts too: a page whose name was made to resolve to 127.0.0.1 (DNS rebinding) sends its own.
    """
    server = scope.get("server")
    # A Unix socket has no port; who may open it is for its file mode to say.
    over_socket = server is not None and server[1] is None
    if not over_socket and (server is None or not is_loopback(server[0])):
        raise Problem("not_loopback", "No auth is configured, so only connections over loopback are served.")
    if not is_loopback(_host_name(header_of(scope, b"host") or "")):
        raise Problem("not_loopback", "No auth is configured, so the Host must be localhost, 127.0.0.1 or [::1].")


def require_same_origin(scope: Scope) -> None:
    """Refuse a change that a browser was talked into by another site: programs send no Origin."""
    if scope.get("method") in _READING:
        return
    origin = header_of(scope, b"origin")
    if origin is not None and urlsplit(origin).netloc != (header_of(scope, b"host") or ""):
        raise Problem("cross_origin", "The request comes from a page of another origin.")


def _host_name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host
