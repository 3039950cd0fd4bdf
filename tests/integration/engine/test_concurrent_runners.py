"""Concurrent runners: each migration is applied once, and every runner returns."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from ...support.migration_processes import migration_processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

TABLES = {
    f"{number:03}_t.sql": (
        f"CREATE TABLE {{{{tables.t{number}}}}} (id int);\nINSERT INTO {{{{tables.t{number}}}}} VALUES (1);"
    )
    for number in range(1, 9)
}
CONCURRENT = {
    "001_t.sql": "CREATE TABLE {{tables.t}} AS SELECT i AS id, i % 7 AS kind FROM generate_series(1, 300) i;",
    "002_index.sql": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY t_kind ON {{tables.t}} (kind);\n-- done",
    "003_column.sql": "ALTER TABLE {{tables.t}} ADD COLUMN note text;",
}
ALL_INDEXES_VALID = (
    "SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid IN "
    "(SELECT oid FROM pg_class WHERE relnamespace = $1::regnamespace)"
)


def applied_counts(answers: list[dict[str, Any]]) -> Counter[str]:
    assert all("error" not in answer for answer in answers), answers
    return Counter(one["filename"] for answer in answers for one in answer["applied"])


async def test_five_processes_apply_each_migration_once_on_an_empty_database(database: str, connect: Connect) -> None:
    async with migration_processes(database, 5) as runners:
        for schema in ("first", "second", "third"):
            answers = await asyncio.gather(*(runner.migrate(schema, TABLES) for runner in runners))
            assert applied_counts(answers) == dict.fromkeys(TABLES, 1)
            async with connect() as connection:
                rows = await connection.fetch(f"SELECT filename FROM {schema}.schema_migrations ORDER BY id")
                assert [row["filename"] for row in rows] == list(TABLES)
                assert await connection.fetchval(f"SELECT count(*) FROM {schema}.t5") == 1


async def test_four_processes_build_a_concurrent_index_without_deadlocks(database: str, connect: Connect) -> None:
    async with migration_processes(database, 4) as runners:
        for number in range(50):
            schema = f"round_{number}"
            answers = await asyncio.gather(*(runner.migrate(schema, CONCURRENT) for runner in runners))
            assert applied_counts(answers) == dict.fromkeys(CONCURRENT, 1), number
            async with connect() as connection:
                assert await connection.fetchval(ALL_INDEXES_VALID, schema) is True


@pytest.mark.slow
async def test_a_second_caller_waits_and_is_up_to_date(database: str, connect: Connect) -> None:
    # Longer than the pool's lock_timeout of 5 s, which must not bound the wait.
    slow = {"001_slow.sql": "CREATE TABLE {{tables.slow}} (id int);\nSELECT pg_sleep(10);"}
    async with migration_processes(database, 2) as (first, second):
        await first.send("app", slow)
        async with connect() as connection:
            while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"):
                await asyncio.sleep(0.02)
        late = await second.migrate("app", slow)
        early = await first._answer()
    assert (early["status"], late["status"]) == ("success", "up_to_date")
    assert [one["filename"] for one in early["applied"]] == ["001_slow.sql"]
    assert late["skipped"] == ["001_slow.sql"]


async def test_concurrent_tasks_of_one_process_apply_each_migration_once(db: AsyncDatabaseManager) -> None:
    managers = [AsyncMigrationManager(db, CONCURRENT, "m") for _ in range(6)]
    answers = await asyncio.gather(*(manager.apply_pending_migrations() for manager in managers))
    assert applied_counts(answers) == dict.fromkeys(CONCURRENT, 1)
