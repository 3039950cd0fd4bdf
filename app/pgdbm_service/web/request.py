"""The request as handlers see it: its principal and its headers."""

from __future__ import annotations

import msgspec
from litestar import Request
from litestar.datastructures import State

from ..api.scopes import allows


class Principal(msgspec.Struct, frozen=True):
    """Who makes a request. Runs and the audit show ``name``: ``token:NAME``, ``jwt:SUBJECT`` or ``anonymous``."""

    name: str
    scopes: tuple[str, ...] = ()


UNRESTRICTED = Principal("anonymous", ("admin",))
"""Every client, if no auth is configured."""

ANONYMOUS = Principal("anonymous")
"""A client without credentials, if auth is configured."""

HTTPRequest = Request[Principal | None, str | None, State]
"""The type of every handler's ``request``."""


def may_read(request: HTTPRequest) -> bool:
    """Whether the client of ``request`` may read server messages that name users, databases and addresses."""
    return allows(principal_of(request).scopes, "read")


def public_path(request: HTTPRequest, path: str) -> str:
    """``path`` as clients use it: below the prefix that a reverse proxy strips from requests."""
    return f"{request.scope['state'].get('prefix', '')}{path}"


def principal_of(request: HTTPRequest) -> Principal:
    """Who makes ``request``; ``ANONYMOUS`` before authentication."""
    principal: Principal = request.scope.get("user") or ANONYMOUS
    return principal
