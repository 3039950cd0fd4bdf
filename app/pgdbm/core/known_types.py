"""Connections that query the server for the description of a type only once per pool.

asyncpg does so once per connection, with a query that takes longer than most others.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMPOSITE = b"c"


class _NotPrepared(NamedTuple):
    """Replaces asyncpg's own query for types: asyncpg would prepare its statement again if this had no name."""

    name: str = "known types"


class _KnownTypesConnection(asyncpg.Connection):
    """``known_types``: the rows that describe a type and its component types, by its oid.

    The description of a type never changes while it exists, unless it is composite.
    """

    __slots__ = ()

    known_types: dict[int, list[Any]]

    # A private method, because asyncpg has no public hook. An asyncpg that does not call it sends its own query.
    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[list[Any], Any]:
        wanted = list(typeoids)
        known = self.known_types
        if all(oid in known for oid in wanted):
            # Types that were queried together have the same rows.
            lists = {id(known[oid]): known[oid] for oid in wanted}
            return list(chain.from_iterable(lists.values())), _NotPrepared()
        rows, statement = await super()._introspect_types(wanted, timeout)  # type: ignore[misc]
        if all(row["kind"] != _COMPOSITE for row in rows):
            known.update(dict.fromkeys(wanted, rows))
        return rows, statement


def with_known_types(base: type[asyncpg.Connection[Any]]) -> type[asyncpg.Connection[Any]]:
    """A class of connections to one database, like ``base``, which share what they know about its types."""
    return type("PoolConnection", (_KnownTypesConnection, base), {"__slots__": (), "known_types": {}})
