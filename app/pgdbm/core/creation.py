"""CREATE ... IF NOT EXISTS statements that are safe with concurrent sessions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg

from .connection import savepoint
from .templating import check_identifier, quote

if TYPE_CHECKING:
    from .connection import Connection

NOT_THERE = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)
"""Raised by a query on a table that does not exist, or whose schema does not exist."""

_CREATED_CONCURRENTLY = (
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateObjectError,
    asyncpg.DuplicateSchemaError,
    # Another session has just committed the schema, and this one has not processed the invalidation yet.
    asyncpg.InvalidSchemaNameError,
)
_PAUSES_S = (0.0, 0.002, 0.01, 0.05, 0.2, 0.5, 1.0)


async def create_if_missing(connection: Connection, create: str, *, durable: bool = True) -> None:
    """Run ``create``, a ``CREATE ... IF NOT EXISTS`` statement, safely even if concurrent sessions run it too.

    With ``durable=False`` the commit does not wait for the WAL to be flushed. Use it for an object that is useless
    without a later, durable commit.

    IF NOT EXISTS checks before it writes, so a session that lost the race gets a duplicate error. It may also get one
    shortly before it processes the invalidation of its catalog caches, and the next query might still not find the
    object. The statement is therefore repeated until it succeeds.
    """
    if not durable and not connection.is_in_transaction():
        create = f"SET LOCAL synchronous_commit = off;\n{create}"
    for pause in _PAUSES_S:
        try:
            async with savepoint(connection):
                await connection.execute(create)
        except _CREATED_CONCURRENTLY:
            if pause == _PAUSES_S[-1]:
                raise
            await asyncio.sleep(pause)
        else:
            return


async def create_schema(connection: Connection, schema: str, *, durable: bool = True) -> None:
    """Create ``schema`` unless it exists. ``durable`` as in :func:`create_if_missing`.

    Queries the catalog first: CREATE SCHEMA IF NOT EXISTS needs the CREATE privilege even if the schema exists.
    """
    check_identifier(schema)
    exists = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)"
    if not await connection.fetchval(exists, schema):
        await create_if_missing(connection, f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}", durable=durable)
