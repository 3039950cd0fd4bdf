"""Runners and connections that die: nothing is left half-done, and the next run succeeds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from ...support.migration_processes import MigrationProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

FILES = {
    "001_before.sql": "CREATE TABLE {{tables.before}} (id int);",
    "002_half.sql": (
        "CREATE TABLE {{tables.half}} (id int);\nINSERT INTO {{tables.half}} VALUES (1);\n"
        "SELECT pg_sleep(60);\nINSERT INTO {{tables.half}} VALUES (2);"
    ),
    "003_after.sql": "CREATE TABLE {{tables.after}} (id int);",
}
# The interrupted file was never applied, so it may change.
WITHOUT_SLEEP = FILES | {"002_half.sql": FILES["002_half.sql"].replace("60", "0")}


async def until_asleep(connection: asyncpg.Connection[Any]) -> int:
    """The pid of the backend that sleeps in the middle of 002."""
    while True:
        pid = await connection.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        )
        if pid is not None:
            return int(pid)
        await asyncio.sleep(0.02)


async def test_a_runner_killed_in_a_transaction_leaves_nothing(
    database: str, db: AsyncDatabaseManager, connect: Connect
) -> None:
    async with MigrationProcess(database) as runner, connect() as connection:
        await runner.send("app", FILES)
        pid = await until_asleep(connection)
        await runner.kill()
        # The server detects a dead client only when it next sends to it: end the sleep early.
        await connection.execute("SELECT pg_cancel_backend($1)", pid)
        while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
            await asyncio.sleep(0.02)
        assert await db.table_exists("before")
        assert not await db.table_exists("half")
        result = await AsyncMigrationManager(db, WITHOUT_SLEEP, "racer").apply_pending_migrations()
        assert [one["filename"] for one in result["applied"]] == ["002_half.sql", "003_after.sql"]
        assert await connection.fetchval("SELECT array_agg(id ORDER BY id) FROM app.half") == [1, 2]


async def test_a_terminated_backend_is_a_connection_error_and_the_next_run_succeeds(
    db: AsyncDatabaseManager, connect: Connect
) -> None:
    run = asyncio.create_task(AsyncMigrationManager(db, FILES, "racer").apply_pending_migrations())
    async with connect() as connection:
        await connection.execute("SELECT pg_terminate_backend($1)", await until_asleep(connection))
        with pytest.raises(pgdbm.ConnectionError) as caught:
            await run
        assert caught.value.details["applied"] == ["001_before.sql"]
        assert not await db.table_exists("half")
    result = await AsyncMigrationManager(db, WITHOUT_SLEEP, "racer").apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["002_half.sql", "003_after.sql"]


async def check_that_a_cancelled_run_leaves_nothing(
    db: AsyncDatabaseManager, connect: Connect, migrations: AsyncMigrationManager
) -> None:
    run = asyncio.create_task(migrations.apply_pending_migrations())
    async with connect() as connection:
        await until_asleep(connection)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert not await db.table_exists("half")
        assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_a_cancelled_task_leaves_nothing_and_no_lock(db: AsyncDatabaseManager, connect: Connect) -> None:
    await check_that_a_cancelled_run_leaves_nothing(db, connect, AsyncMigrationManager(db, FILES, "racer"))


@pytest.mark.parametrize(
    "content",
    [
        "-- pgdbm:no-transaction\nSELECT pg_sleep(60);",
        "-- pgdbm:no-transaction\nBEGIN;\nCREATE TABLE {{tables.half}} (id int);\nSELECT pg_sleep(60);\nCOMMIT;",
        "-- pgdbm:no-transaction\nVACUUM;\nSELECT pg_sleep(60);",
        "CREATE TABLE {{tables.half}} (id text); INSERT INTO {{tables.half}} VALUES (pg_sleep(60)::text);",
    ],
)
@pytest.mark.parametrize("listening", [False, True])
async def test_a_cancellation_is_not_replaced_by_an_error(
    db: AsyncDatabaseManager, connect: Connect, content: str, listening: bool
) -> None:
    """The session is cleaned after the statement has ended, and not in its aborted transaction."""
    options: dict[str, Any] = {"on_event": lambda _: None} if listening else {}
    migrations = AsyncMigrationManager(db, {"001_sleep.sql": content}, "racer", **options)
    await check_that_a_cancelled_run_leaves_nothing(db, connect, migrations)
