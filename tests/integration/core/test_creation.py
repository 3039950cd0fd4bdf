"""Schemas and tables that concurrent sessions create exist for each of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager
from pgdbm.core.creation import NOT_THERE, create_if_missing

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]


async def test_concurrent_creators_can_all_use_the_table(database: str) -> None:
    sessions = [await asyncpg.connect(database) for _ in range(8)]

    async def miss(session: asyncpg.Connection[Any], table: str) -> None:
        # The session now remembers that there is none.
        with pytest.raises(NOT_THERE):
            await session.fetch(f"SELECT FROM {table}")

    async def use(session: asyncpg.Connection[Any], table: str) -> None:
        await create_if_missing(session, f"CREATE TABLE IF NOT EXISTS {table} (id serial PRIMARY KEY)")
        await session.fetch(f"SELECT FROM {table}")

    try:
        for number in range(60):
            await asyncio.gather(*(miss(session, f"made_{number}") for session in sessions))
            await asyncio.gather(*(use(session, f"made_{number}") for session in sessions))
    finally:
        await asyncio.gather(*(session.close() for session in sessions))


async def test_a_lost_race_does_not_abort_the_transaction(connect: Connect) -> None:
    async with connect() as first, connect() as second:
        await first.execute("BEGIN; CREATE TABLE shared (id serial)")
        async with second.transaction():
            await second.execute("CREATE TABLE own ()")
            waiting = asyncio.create_task(
                create_if_missing(second, "CREATE TABLE IF NOT EXISTS shared (id serial PRIMARY KEY)")
            )
            await asyncio.sleep(0.1)
            await first.execute("COMMIT")
            await waiting
            await second.fetch("SELECT FROM shared, own")


async def test_another_error_is_raised_without_a_retry(connect: Connect) -> None:
    async with connect() as connection:
        with pytest.raises(asyncpg.UndefinedObjectError):
            await create_if_missing(connection, "CREATE TABLE IF NOT EXISTS t (id no_such_type)")
        with pytest.raises(asyncpg.InvalidSchemaNameError):
            await create_if_missing(connection, "CREATE TABLE IF NOT EXISTS nowhere.t ()")


async def test_concurrent_creators_can_all_use_the_schema(pool: asyncpg.Pool[Any]) -> None:
    db = AsyncDatabaseManager(pool=pool)
    for number in range(20):
        await asyncio.gather(*(db.ensure_schema(f"made_{number}") for _ in range(4)))
        await db.execute(f"CREATE TABLE made_{number}.t ()")
