"""Progress events of a running statement, from PostgreSQL's progress views."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, ConnectionError, DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgdbm.core.connection import Connection
    from pgdbm.migrations.engine.events import Event

HEAD = "-- pgdbm:no-transaction\n"
# Each row of the index takes long, so that the progress of the build is seen.
SLOW = (
    "CREATE TABLE {{tables.t}} AS SELECT i AS id FROM generate_series(1, 60) AS i;\n"
    "CREATE FUNCTION {{schema}}.slow(int) RETURNS int IMMUTABLE LANGUAGE sql\n"
    "    AS $$SELECT $1 FROM pg_catalog.pg_sleep(0.04)$$;\n"
)
INDEX = "CREATE INDEX t_slow ON {{tables.t}} ({{schema}}.slow(id));\n"
WORK = {
    "create index": (SLOW, INDEX, {"CREATE INDEX"}),
    "create index concurrently": (
        SLOW,
        HEAD + INDEX.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY"),
        {"CREATE INDEX CONCURRENTLY"},
    ),
    # Both views show it once the index is being built.
    "vacuum full": (SLOW + INDEX, HEAD + "VACUUM FULL {{tables.t}};", {"VACUUM FULL", "CREATE INDEX"}),
    "vacuum": (
        "CREATE TABLE {{tables.t}} AS SELECT i, repeat('x', 50) FROM generate_series(1, 4000) AS i;\n",
        HEAD + "SET vacuum_cost_delay = 40;\nSET vacuum_cost_limit = 1;\nVACUUM {{tables.t}};",
        {"VACUUM"},
    ),
    "copy": ("CREATE TABLE {{tables.t}} (id int);", "COPY {{tables.t}} FROM PROGRAM 'sleep 2';", {"COPY FROM"}),
}


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("work", WORK)
async def test_progress_of_a_statement_is_reported(database: str, work: str, direct: bool) -> None:
    before, text, commands = WORK[work]
    config = DatabaseConfig(
        connection_string=database,
        direct_connection_string=database if direct else None,
        schema="app",
        min_connections=1,
        max_connections=3,
    )
    received: list[Event] = []
    async with AsyncDatabaseManager(config) as db:
        await AsyncMigrationManager(db, {"1.sql": before}, "m").apply_pending_migrations()
        await AsyncMigrationManager(db, {"2.sql": text}, "m", on_event=received.append).apply_pending_migrations()
    reported: list[dict[str, Any]] = [event.details for event in received if event.kind == "progress"]
    assert reported
    assert {one["command"] for one in reported} <= commands
    assert all(one["phase"] for one in reported)
    assert all(one["percent"] is None or 0 <= one["percent"] <= 100 for one in reported)


class _LosesCancellation(AsyncDatabaseManager):
    """The polling of a backend lasts until the file has ended. Its connection is lost at that moment, once."""

    cancelled = 0

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:  # type: ignore[override]
        task = asyncio.current_task()
        assert task is not None
        async with super().acquire() as connection:
            if getattr(task.get_coro(), "__name__", "") == "_watch" and not self.cancelled:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise ConnectionError("lost") from None
            yield connection


async def test_a_run_ends_if_the_polling_does_not_notice_its_cancellation(database: str) -> None:
    pool = await AsyncDatabaseManager.create_shared_pool(
        DatabaseConfig(connection_string=database, min_connections=1, max_connections=3)
    )
    db = _LosesCancellation(pool=pool, schema="app")
    manager = AsyncMigrationManager(
        db, {"1.sql": "SELECT pg_sleep(0.5)"}, "m", lock_timeout=0.1, on_event=lambda event: None
    )
    async with asyncio.timeout(30):
        result = await manager.apply_pending_migrations()
    await pool.close()
    assert [one["filename"] for one in result["applied"]] == ["1.sql"]
    assert db.cancelled == 1
