"""Connections that can query the server for the description of a type only once per pool.

asyncpg does so once per connection, with a query that takes longer than most others. Sharing the answers is correct
only while the pool is connected to the same database: in a restored one, or on another server behind the same
address, the same oid can be another type.
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


KnownTypes = dict[int, Any]
"""The rows that describe a type and its component types, by its oid."""


class KnownTypesConnection(asyncpg.Connection):
    """``known_types`` is shared by the connections of a pool; None: each queries the server itself.

    The description of a type never changes while it exists, unless it is composite.
    """

    __slots__ = ()

    known_types: KnownTypes | None = None

    # A private method, because asyncpg has no public hook. An asyncpg that does not call it sends its own query.
    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[list[Any], Any]:
        wanted = list(typeoids)
        known = self.known_types
        if known is not None and all(oid in known for oid in wanted):
            # Types that were queried together have the same rows.
            lists = {id(known[oid]): known[oid] for oid in wanted}
            return list(chain.from_iterable(lists.values())), _NotPrepared()
        rows, statement = await super()._introspect_types(wanted, timeout)  # type: ignore[misc]
        if known is not None and all(row["kind"] != _COMPOSITE for row in rows):
            for oid in wanted:
                known[oid] = rows
        return rows, statement


def with_known_types(base: type[asyncpg.Connection[Any]]) -> type[KnownTypesConnection]:
    """A class of connections like ``base``, of its own, so that it can have its own ``known_types``."""
    return type("PoolConnection", (KnownTypesConnection, base), {"__slots__": ()})
