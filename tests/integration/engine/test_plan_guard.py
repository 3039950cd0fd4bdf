"""With the digest of a plan nothing else is applied, whatever another runner does after it was compared."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, PlanMovedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TRANSACTIONAL = {
    f"00{number}_{name}.sql": f"CREATE TABLE {{{{tables.{name}}}}} ()" for number, name in enumerate("abc", 1)
}
WITHOUT = TRANSACTIONAL | {
    "001_a.sql": "-- pgdbm:no-transaction\nCREATE TABLE {{tables.a}} (id int);\n"
    "CREATE INDEX CONCURRENTLY ON {{tables.a}} (id)"
}
BACKFILL = {
    "001_a.sql": "-- pgdbm:backfill table={{tables.t}} key=id\n"
    "UPDATE {{tables.t}} SET n = 1 WHERE id BETWEEN $from AND $to",
    "002_b.sql": "CREATE TABLE {{tables.b}} ()",
}


def elsewhere(database: str, files: Mapping[str, str]) -> None:
    """Apply ``files`` as another process would: over connections of its own, while this event loop stands still."""

    async def apply() -> None:
        async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
            manager = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "app")
            assert (await manager.apply_pending_migrations())["status"] == "success"

    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(apply())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []


def manager_of(
    pool: asyncpg.Pool[Any], files: Mapping[str, str], between: Callable[[], None], *, listens: bool
) -> AsyncMigrationManager:
    """Calls ``between`` once: after it has compared the plan, and before it has the lock."""
    called: list[object] = []

    def once(*_: object) -> None:
        if not called:
            called.append(1)
            between()

    options: dict[str, Any] = {"on_backend": once}
    if listens:
        options = {"on_event": lambda event: once() if event.kind == "run_started" else None}
    return AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "app", **options)


async def applied(pool: asyncpg.Pool[Any]) -> list[str]:
    rows = await pool.fetch("SELECT filename FROM app.schema_migrations ORDER BY id")
    return [row["filename"] for row in rows]


@pytest.mark.parametrize("listens", [False, True], ids=["in messages", "by statements"])
@pytest.mark.parametrize("atomic", ["file", "all"])
@pytest.mark.parametrize("other", ["001_a.sql", "002_b.sql", "003_c.sql"])
async def test_a_file_of_the_plan_that_another_runner_applies_stops_all(
    pool: asyncpg.Pool[Any], database: str, other: str, atomic: Any, listens: bool
) -> None:
    manager = manager_of(
        pool, TRANSACTIONAL, lambda: elsewhere(database, {other: TRANSACTIONAL[other]}), listens=listens
    )
    plan = await manager.plan()
    with pytest.raises(PlanMovedError) as caught:
        await manager.apply_pending_migrations(plan=plan.digest, atomic=atomic)
    assert caught.value.fields() == {
        "plan": plan.digest,
        "current_plan": (await manager.plan()).digest,
        "applied": [],
    }
    assert "Nothing was applied. Make a new plan" in str(caught.value)
    assert await applied(pool) == [other]


@pytest.mark.parametrize("files", [WITHOUT, BACKFILL], ids=["without a transaction", "backfill"])
async def test_files_without_a_transaction_are_compared_too(
    pool: asyncpg.Pool[Any], database: str, files: Mapping[str, str]
) -> None:
    await pool.execute(
        "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int); INSERT INTO app.t VALUES (1)"
    )
    manager = manager_of(pool, files, lambda: elsewhere(database, {"002_b.sql": files["002_b.sql"]}), listens=False)
    with pytest.raises(PlanMovedError):
        await manager.apply_pending_migrations(plan=(await manager.plan()).digest)
    assert await applied(pool) == ["002_b.sql"]
    assert await pool.fetchval("SELECT to_regclass('app.a')") is None


async def test_what_is_not_in_the_plan_does_not_stop_it(pool: asyncpg.Pool[Any], database: str) -> None:
    """The history is another one, and what is pending is the same: it is compared again, and applied."""
    manager = manager_of(pool, TRANSACTIONAL, lambda: elsewhere(database, {"000_x.sql": "SELECT 1"}), listens=False)
    await manager.apply_pending_migrations(plan=(await manager.plan()).digest)
    assert await applied(pool) == ["000_x.sql", *TRANSACTIONAL]


async def test_a_change_in_the_middle_of_a_run_ends_it_there(pool: asyncpg.Pool[Any], database: str) -> None:
    done: list[str] = []
    # With the comment, it is not sent together with what follows.
    files = WITHOUT | {"002_b.sql": "CREATE TABLE {{tables.b}} ();\nCOMMENT ON TABLE {{tables.b}} IS 'b'"}

    def on_event(event: Any) -> None:
        if event.kind == "migration_started" and event.filename == "002_b.sql" and not done:
            done.append(event.filename)
            elsewhere(database, {"003_c.sql": files["003_c.sql"]})

    db = AsyncDatabaseManager(pool=pool, schema="app")
    manager = AsyncMigrationManager(db, files, "app", on_event=on_event)
    with pytest.raises(PlanMovedError, match=r"001_a\.sql had already been applied") as caught:
        await manager.apply_pending_migrations(plan=(await manager.plan()).digest)
    assert caught.value.applied == ["001_a.sql"]
    assert await applied(pool) == ["001_a.sql", "003_c.sql"]


async def test_another_plan_is_not_applied(pool: asyncpg.Pool[Any]) -> None:
    db = AsyncDatabaseManager(pool=pool, schema="app")
    planned = await AsyncMigrationManager(db, {"001_a.sql": TRANSACTIONAL["001_a.sql"]}, "app").plan()
    manager = AsyncMigrationManager(db, TRANSACTIONAL, "app")
    for dry_run in (True, False):
        with pytest.raises(PlanMovedError):
            await manager.apply_pending_migrations(dry_run, plan=planned.digest)
    assert (await manager.apply_pending_migrations(target="001", plan=planned.digest))["status"] == "success"
    # Nothing is left of it.
    with pytest.raises(PlanMovedError):
        await manager.apply_pending_migrations(target="001", plan=planned.digest)
