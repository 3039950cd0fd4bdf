"""Connections that ask the server for the description of a type once per pool.

asyncpg asks once per connection, with a query that takes longer than most others.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMPOSITE = b"c"


class _NotPrepared(NamedTuple):
    """In place of the statement that would have asked: asyncpg prepares its own again if that had no name."""

    name: str = "known types"


class _KnownTypesConnection(asyncpg.Connection):
    """``known_types``: the rows that describe a type, by its oid, with those of the types that it consists of.

    A type of that oid has the same description for as long as it exists, unless it is composite.
    """

    __slots__ = ()

    known_types: dict[int, list[Any]]

    # A private method: asyncpg has no public hook. One that does not call it asks for itself.
    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[list[Any], Any]:
        wanted = list(typeoids)
        known = self.known_types
        if all(oid in known for oid in wanted):
            # Several have the same rows, if they were asked for together.
            lists = {id(known[oid]): known[oid] for oid in wanted}
            return list(chain.from_iterable(lists.values())), _NotPrepared()
        rows, statement = await super()._introspect_types(wanted, timeout)  # type: ignore[misc]
        if all(row["kind"] != _COMPOSITE for row in rows):
            known.update(dict.fromkeys(wanted, rows))
        return rows, statement


def with_known_types(base: type[asyncpg.Connection[Any]]) -> type[asyncpg.Connection[Any]]:
    """A class of connections to one database, like ``base``, which share what they know of its types."""
    return type("PoolConnection", (_KnownTypesConnection, base), {"__slots__": (), "known_types": {}})
