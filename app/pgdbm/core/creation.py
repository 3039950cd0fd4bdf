"""Creating what several sessions may create at the same time."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import asyncpg

from .identifiers import check_identifier, quote
from .queries import FAILURES

if TYPE_CHECKING:
    from .manager import AsyncDatabaseManager

NOT_THERE = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError)
"""What a query says of a table that is missing, or whose schema is."""

_MADE_MEANWHILE = (
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateObjectError,
    asyncpg.DuplicateSchemaError,
    # The schema is there by now; this session has not heard of it yet.
    asyncpg.InvalidSchemaNameError,
)
_PAUSES_S = (0.0, 0.002, 0.01, 0.05, 0.2, 0.5, 1.0)


async def create_if_missing(connection: Any, create: str, *, wait_for_disk: bool = True) -> None:
    """Run ``create``, a CREATE … IF NOT EXISTS, whoever else runs it too; afterwards this session knows the name.

    Without ``wait_for_disk`` a crash may take it back, unless a later commit waits: for what is worth nothing without
    that one.

    IF NOT EXISTS looks before it writes: where another session was between the two, the server reports a duplicate.
    It may do so a moment before it tells this session's caches what the other has committed, and a query would then
    still not find it. So the statement is run again until it has nothing to complain about.
    """
    if not wait_for_disk and not connection.is_in_transaction():
        create = f"SET LOCAL synchronous_commit = off;\n{create}"
    for pause in _PAUSES_S:
        try:
            # An error must not end a transaction that there is.
            async with connection.transaction() if connection.is_in_transaction() else nullcontext():
                await connection.execute(create)
        except _MADE_MEANWHILE:
            if pause == _PAUSES_S[-1]:
                raise
            await asyncio.sleep(pause)
        else:
            return


async def create_schema(db: AsyncDatabaseManager, schema: str, *, wait_for_disk: bool = True) -> None:
    """Create ``schema`` where it is missing; asks first, since CREATE needs a privilege that looking does not.

    ``wait_for_disk`` as in :func:`create_if_missing`.
    """
    check_identifier(schema)
    exists = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)"
    create = f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}"
    async with db.acquire() as connection:
        try:
            if not await connection.fetchval(exists, schema):
                await create_if_missing(connection, create, wait_for_disk=wait_for_disk)
        except FAILURES as error:
            raise db.failure(error, create, ()) from error
