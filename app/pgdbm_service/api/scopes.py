"""Scopes, and what they allow. Pure.

``read`` allows every read. ``register:GLOB`` and ``migrate:GLOB`` allow changes of the modules whose whole name the
glob matches: ``*`` matches any characters, ``?`` a single one; ``approve:GLOB`` allows approving and rejecting other
people's runs of them. ``admin`` allows everything. Apart from ``admin``, no scope includes another.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

Need = Literal["read", "admin", "migrate", "register", "approve"]

ADMIN = "admin"
# No brackets: fnmatch would treat them as a character set.
_SCOPE = re.compile(r"(?:read|admin|(?:register|migrate|approve):[A-Za-z0-9_.*?-]{1,100})\Z")


def is_scope(text: str) -> bool:
    """Whether ``text`` is ``read``, ``admin``, ``register:GLOB``, ``migrate:GLOB`` or ``approve:GLOB``."""
    return _SCOPE.match(text) is not None


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """``scopes`` without duplicates, in the same order.

    Raises:
        ValueError: ``scopes`` is empty, or one is not a scope; the text names it.
    """
    unique = tuple(dict.fromkeys(scopes))
    if not unique:
        raise ValueError("at least one scope is required")
    for scope in unique:
        if not is_scope(scope):
            raise ValueError(
                f"{scope[:120]!r} is not a scope: use read, register:GLOB, migrate:GLOB, approve:GLOB or admin"
            )
    return unique


def allows(scopes: Collection[str], need: Need, module: str | None = None) -> bool:
    """Whether ``scopes`` include ``need`` for ``module``; without a module, for at least one."""
    return ADMIN in scopes or any(_holds(scope, need, module) for scope in scopes)


def wanted(need: Need, module: str | None) -> str:
    """The smallest scope that includes ``need``, for messages."""
    return need if need in ("read", ADMIN) else f"{need}:{'…' if module is None else module}"


def _holds(scope: str, need: Need, module: str | None) -> bool:
    kind, colon, glob = scope.partition(":")
    if kind != need:
        return False
    return not colon or module is None or fnmatchcase(module, glob)
