"""When a backfill waits: because it is paused, for locks, for vacuum. Also tests how batches adapt."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig, MigrationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from pgdbm.migrations.engine.events import Event

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

ORDERS = """
CREATE TABLE {{tables.orders}} (id bigint PRIMARY KEY, touched int NOT NULL DEFAULT 0);
INSERT INTO {{tables.orders}} (id) SELECT n FROM generate_series(1, 400) AS n;
"""
FILL = """-- pgdbm:backfill table={{tables.orders}} key=id batch=10 target=5ms pause=20ms
UPDATE {{tables.orders}} SET touched = touched + 1 WHERE id BETWEEN $from AND $to;
"""
FILES = {"001_orders.sql": ORDERS, "012_fill.sql": FILL}


class Running:
    """A backfill that runs, with its events."""

    def __init__(self, db: AsyncDatabaseManager, files: dict[str, str] = FILES) -> None:
        self.events: list[Event] = []
        self.manager = AsyncMigrationManager(db, files, "orders", on_event=self.events.append)
        self.task = asyncio.create_task(self.manager.apply_pending_migrations())
        self._db = db

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert not self.task.done(), await self.task
            await asyncio.sleep(0.005)

    async def until_walking(self) -> None:
        await self.until(lambda: any(event.kind == "progress" for event in self.events))

    async def until_waiting(self, reason: str) -> Event:
        await self.until(lambda: reason in [one.details["reason"] for one in self.waits])
        return next(one for one in self.waits if one.details["reason"] == reason)

    @property
    def waits(self) -> list[Event]:
        return [event for event in self.events if event.kind == "backfill_waiting"]

    async def ended(self) -> None:
        await self.task
        assert await self._db.fetch_value("SELECT count(*) FROM {{tables.orders}} WHERE touched = 1") == 400


async def walked(manager: AsyncMigrationManager) -> int:
    (state,) = await manager.backfills.states()
    return state.processed_rows


async def test_pause_and_resume_while_it_runs(db: AsyncDatabaseManager) -> None:
    running = Running(db)
    await running.until_walking()
    other = AsyncMigrationManager(db, FILES, "orders")
    assert await other.backfills.pause("012_fill") == "012_fill.sql"
    event = await running.until_waiting("paused")
    assert event.details["message"] == "it was paused"
    (state,) = await other.backfills.states()
    assert (state.paused, state.waiting_for) == (True, "it was paused")
    before = await walked(other)
    assert 0 < before < 400
    states = {one.filename: one.state for one in (await other.status()).migrations}
    assert states == {"001_orders.sql": "applied", "012_fill.sql": "backfilling"}
    assert (await other.status()).state == "backfilling"
    assert await walked(other) == before
    await other.backfills.resume("012_fill.sql")
    await running.ended()
    assert running.waits[-1].details == {"reason": None, "message": None}
    assert [one.event for one in await other.journal()] == ["finished", "resumed", "paused", "applied"]
    with pytest.raises(MigrationError, match="has ended"):
        await other.backfills.pause("012_fill.sql")
    with pytest.raises(MigrationError, match=r"the backfills are: 012_fill.sql"):
        await other.backfills.pause("001_orders.sql")


async def test_a_backfill_that_was_paused_before_it_started(db: AsyncDatabaseManager) -> None:
    await AsyncMigrationManager(db, FILES, "orders").backfills.pause("012_fill.sql")
    running = Running(db)
    await running.until_waiting("paused")
    assert await walked(running.manager) == 0
    await running.manager.backfills.resume("012_fill.sql")
    await running.ended()


async def test_the_rate_can_be_changed_while_it_runs(db: AsyncDatabaseManager) -> None:
    running = Running(db, FILES | {"012_fill.sql": FILL.replace("pause=20ms", "rate=1")})
    await running.until_walking()
    # At one row a second, batches are of one row.
    await running.until(lambda: running.events[-1].details.get("batch_rows") == 1)
    await running.manager.backfills.limit("012_fill.sql", 0)
    await running.ended()


async def test_it_waits_while_a_session_waits_for_a_lock_on_the_table(
    db: AsyncDatabaseManager, connect: Connect
) -> None:
    async with connect() as reader, connect() as changer:
        # Connecting takes as long as several batches.
        running = Running(db)
        await running.until_walking()
        reading = reader.transaction()
        await reading.start()
        await reader.execute("SELECT count(*) FROM app.orders")
        changing = asyncio.create_task(changer.execute("ALTER TABLE app.orders ADD COLUMN note text"))
        # Its own batch waits behind the ALTER TABLE, or it waits for that between two batches.
        await running.until(lambda: any(event.kind in ("backfill_waiting", "blocked") for event in running.events))
        await reading.rollback()
        await changing
    await running.ended()


def test_it_does_not_wait_for_sessions_of_another_database(databases: Any, database: str) -> None:
    """The table of a database that was copied has the same OID."""

    async def create() -> None:
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, schema="app")) as db:
            await AsyncMigrationManager(db, {"001_orders.sql": ORDERS}, "orders").apply_pending_migrations()

    async def fill(copy: str) -> None:
        holder, waiter = await asyncpg.connect(copy), await asyncpg.connect(copy)
        await holder.execute("BEGIN; LOCK TABLE app.orders")
        waiting = asyncio.create_task(waiter.execute("BEGIN; LOCK TABLE app.orders"))
        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'app.orders'::regclass"
        while not await holder.fetchval(blocked):
            await asyncio.sleep(0.01)
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, schema="app")) as db:
            running = Running(db)
            await asyncio.wait([running.task], timeout=30)
            await holder.close()
            await asyncio.gather(waiting, return_exceptions=True)
            await waiter.close()
            await running.ended()
            # Autovacuum may analyze the new table in the meantime.
            assert "lock_waiters" not in [wait.details["reason"] for wait in running.waits]

    asyncio.run(create())
    with databases.fresh(template=database.rpartition("/")[2]) as copy:
        asyncio.run(fill(copy))


async def test_it_waits_while_autovacuum_works_on_the_table(db: AsyncDatabaseManager, connect: Connect) -> None:
    slowly = ORDERS.replace(
        "DEFAULT 0)",
        "DEFAULT 0) WITH (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0, "
        "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)",
    )
    files = {"001_orders.sql": slowly, "012_fill.sql": FILL.replace("pause=20ms", "rate=5")}
    async with connect() as connection:
        await connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        await connection.execute("SELECT pg_reload_conf()")
        try:
            running = Running(db, files)
            await running.until_waiting("autovacuum")
        finally:
            await connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
            await connection.execute("SELECT pg_reload_conf()")
        await running.manager.backfills.limit("012_fill.sql", 0)
        await running.ended()


async def test_batches_become_larger_while_they_are_fast(db: AsyncDatabaseManager) -> None:
    running = Running(db, FILES | {"012_fill.sql": FILL.replace("target=5ms pause=20ms", "target=1min")})
    await running.ended()
    (state,) = await running.manager.backfills.states()
    # 10, 20, 40, 80, 160 and the rest.
    assert state.batches == 6


async def test_a_batch_of_three_times_its_target_is_followed_by_a_pause(db: AsyncDatabaseManager) -> None:
    slow = FILL.replace("touched + 1", "touched + 1 + length(pg_sleep(0.001)::text)").replace("pause=20ms", "")
    running = Running(db, FILES | {"012_fill.sql": slow.replace("target=5ms", "target=1ms")})
    event = await running.until_waiting("slow_batch")
    assert "with a target of 1 ms" in event.details["message"]
    await running.ended()


async def test_a_file_that_requires_a_backfill_waits_for_it(db: AsyncDatabaseManager) -> None:
    files = {
        "001_orders.sql": ORDERS,
        "012_fill.sql": FILL.replace("key=id", "key=id background"),
        "013_after.sql": "CREATE TABLE {{tables.after}} (id int)",
        "014_switch.sql": "-- pgdbm:requires 012_fill\nALTER TABLE {{tables.orders}} ADD CHECK (touched = 1)",
    }
    deferring = AsyncMigrationManager(db, files, "orders", defer_background=True, out_of_order="reject")
    result = await deferring.apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["001_orders.sql", "013_after.sql"]
    status = await deferring.status()
    assert status.state == "backfilling"
    found = {one.filename: (one.state, one.waits_for) for one in status.migrations}
    assert found["012_fill.sql"] == ("backfilling", None)
    assert found["014_switch.sql"] == ("pending", "012_fill.sql")
    assert (await deferring.apply_pending_migrations())["status"] == "up_to_date"
    waiting = deferring.with_options(defer_background=False)
    result = await waiting.apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["012_fill.sql", "014_switch.sql"]
    assert (await waiting.status()).state == "up_to_date"


async def test_other_files_are_applied_while_a_backfill_runs_in_the_background(db: AsyncDatabaseManager) -> None:
    files = {"001_orders.sql": ORDERS, "012_fill.sql": FILL.replace("key=id", "key=id background")}
    running = Running(db, files)
    await running.until_walking()
    await running.manager.backfills.pause("012_fill.sql")
    await running.until_waiting("paused")
    more = files | {"013_after.sql": "CREATE TABLE {{tables.after}} (id int)"}
    deferring = AsyncMigrationManager(db, more, "orders", defer_background=True, lock_wait_timeout=5)
    result = await deferring.apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == ["013_after.sql"]
    await running.manager.backfills.resume("012_fill.sql")
    await running.ended()


async def test_what_a_file_requires_has_to_be_before_it(db: AsyncDatabaseManager) -> None:
    files = {"001_orders.sql": "-- pgdbm:requires 012_fill\nSELECT 1", "012_fill.sql": "SELECT 2"}
    with pytest.raises(MigrationError, match=r"001_orders.sql: it requires '012_fill', but there is no such migration"):
        await AsyncMigrationManager(db, files, "orders").apply_pending_migrations()
