"""Who may use the service. While there is no auth: this machine only, and no other site's pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from .errors import Problem
from .settings import is_loopback

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler


class Caller(msgspec.Struct, frozen=True):
    """Who makes a request. ``name`` is what runs and the audit say of it."""

    name: str


ANYBODY = Caller("anonymous")
"""Everybody, while no auth is configured."""


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who makes the request."""
    caller: Caller = connection.scope.get("user") or ANYBODY
    return caller


_READING = frozenset({"GET", "HEAD", "OPTIONS"})


async def loopback_only(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Refuse what did not come over loopback, however the server was told to listen.

    The Host header counts too: a page whose name was made to resolve to 127.0.0.1 (DNS rebinding) sends its own.
    """
    server = connection.scope.get("server")
    # A Unix socket has no port; who may open it is for its file mode to say.
    over_socket = server is not None and server[1] is None
    if not over_socket and (server is None or not is_loopback(server[0])):
        raise Problem("not_loopback", "No auth is configured, so only connections over loopback are served.")
    if not is_loopback(_host_name(connection.headers.get("host", ""))):
        raise Problem("not_loopback", "No auth is configured, so the Host must be localhost, 127.0.0.1 or [::1].")


async def same_origin(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Refuse a change that a browser was talked into by another site: programs send no Origin."""
    if connection.scope.get("method") in _READING:
        return
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != connection.headers.get("host", ""):
        raise Problem("cross_origin", "The request comes from a page of another origin.")


def _host_name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host
