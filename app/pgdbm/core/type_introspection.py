"""Connections that can query the server for the description of a type only once per pool.

asyncpg does so once per connection, with a query that takes longer than most others. Sharing the answers is correct
only while the pool is connected to the same database: in a restored one, or on another server behind the same
address, the same oid can be another type.

asyncpg has no public hook for this: ``set_type_codec`` and ``set_builtin_type_codec`` query the server themselves, once
per connection. So a private method is replaced, if the installed asyncpg has it and calls it as expected; with any
other, each connection queries the server.
"""

from __future__ import annotations

import inspect
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

if TYPE_CHECKING:
    from collections.abc import Iterable

_COMPOSITE = b"c"


class _NotPrepared(NamedTuple):
    """Replaces asyncpg's own query for types: asyncpg would prepare its statement again if this had no name."""

    name: str = "shared types"


SharedTypes = dict[int, Any]
"""The rows that describe a type and its component types, by its oid."""


class IntrospectingConnection(asyncpg.Connection):
    """``shared_types`` is shared by the connections of a pool; None: each queries the server itself."""

    __slots__ = ()

    shared_types: SharedTypes | None = None


class _SharingConnection(IntrospectingConnection):
    """The description of a type never changes while it exists, unless it is composite."""

    __slots__ = ()

    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[list[Any], Any]:
        wanted = list(typeoids)
        shared = self.shared_types
        if shared is not None and all(oid in shared for oid in wanted):
            # Types that were queried together have the same rows.
            lists = {id(shared[oid]): shared[oid] for oid in wanted}
            return list(chain.from_iterable(lists.values())), _NotPrepared()
        rows, statement = await super()._introspect_types(wanted, timeout)  # type: ignore[misc]
        if shared is not None and all(row["kind"] != _COMPOSITE for row in rows):
            for oid in wanted:
                shared[oid] = rows
        return rows, statement


def _introspects_as_expected(connection: type[Any]) -> bool:
    """Whether ``connection`` describes types in the method that is replaced here, with the same parameters."""
    method = getattr(connection, "_introspect_types", None)
    code = getattr(method, "__code__", None)
    caller = getattr(getattr(connection, "_get_statement", None), "__code__", None)
    return (
        inspect.iscoroutinefunction(method)
        and code is not None
        and (code.co_varnames[: code.co_argcount], code.co_kwonlyargcount) == (("self", "typeoids", "timeout"), 0)
        and caller is not None
        and {"_introspect_types", "register_data_types", "name"} <= set(caller.co_names)
    )


CAN_SHARE_TYPES = _introspects_as_expected(asyncpg.Connection)
"""Whether the installed asyncpg allows it."""


def pool_connection_class(base: type[asyncpg.Connection[Any]]) -> type[IntrospectingConnection]:
    """A class of connections like ``base``, of its own, so that it can have its own ``shared_types``."""
    if CAN_SHARE_TYPES:
        return type("PoolConnection", (_SharingConnection, base), {"__slots__": ()})
    return type("PoolConnection", (IntrospectingConnection, base), {"__slots__": ()})
