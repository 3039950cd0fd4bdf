"""Callers: who makes a request, with which scopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import Problem
from ..scopes import Need, allows, wanted

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection


class Caller(msgspec.Struct, frozen=True):
    """Who makes a request. ``name`` is what runs and the audit say of it: ``token:NAME``, ``jwt:SUBJECT``."""

    name: str
    scopes: tuple[str, ...] = ()


ANYBODY = Caller("anonymous", ("admin",))
"""Everybody, while no auth is configured."""

NOBODY = Caller("anonymous")
"""Who has shown nothing, where auth is configured."""


def caller_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
    """Who makes the request."""
    caller: Caller = connection.scope.get("user") or NOBODY
    return caller


def require(caller: Caller, need: Need, module: str | None = None) -> None:
    """Refuse a caller who lacks ``need``; without a ``module``, ``migrate`` and ``register`` of any module will do.

    Raises:
        Problem: forbidden, with the scope that is missing.
    """
    if not allows(caller.scopes, need, module):
        scope = wanted(need, module)
        raise Problem(
            "forbidden",
            f"{caller.name} lacks the scope {scope}.",
            headers={"WWW-Authenticate": 'Bearer realm="pgdbm", error="insufficient_scope"'},
            module=module,
            scope=scope,
        )
