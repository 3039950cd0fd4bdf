"""The history table is gone before the first migration: a crash has undone its creation, which was not flushed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, MigrationError
from pgdbm.migrations.engine.engine import MigrationEngine

from .applying import apply

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgdbm.migrations import Event

TABLE = "CREATE TABLE {{tables.log}} (word text);\nINSERT INTO {{tables.log}} VALUES ('1');\n"
BATCHABLE = {
    "1.sql": TABLE,
    **{f"{number}.sql": f"INSERT INTO {{{{tables.log}}}} VALUES ('{number}');" for number in range(2, 6)},
}
BY_STATEMENT = {**BATCHABLE, "1.sql": TABLE + "UPDATE {{tables.log}} SET word = word;"}
WITHOUT_TRANSACTION = {**BATCHABLE, "1.sql": "-- pgdbm:no-transaction\n" + TABLE}
BACKFILL = {
    "1.sql": "-- pgdbm:backfill table=public.numbers key=id\n"
    "UPDATE public.numbers SET doubled = id * 2 WHERE id BETWEEN $from AND $to;"
}


def execute(dsn: str, sql: str) -> None:
    """Run ``sql`` in a thread of its own: callbacks of a run cannot wait for the event loop."""

    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(sql)
        await connection.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


def drops(dsn: str, sql: str) -> Callable[[int | None], None]:
    """An ``on_backend`` that runs ``sql`` before the first message of a run, once."""
    pending = [sql]

    def on_backend(pid: int | None) -> None:
        if pending:
            execute(dsn, pending.pop())

    return on_backend


@pytest.mark.parametrize("lost", ["DROP TABLE app.schema_migrations", "DROP SCHEMA app CASCADE"])
@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("files", [BATCHABLE, BY_STATEMENT, WITHOUT_TRANSACTION])
async def test_a_run_whose_history_is_lost_starts_again(
    db: AsyncDatabaseManager, database: str, files: dict[str, str], listens: bool, lost: str
) -> None:
    events: list[Event] = []
    options: dict[str, Any] = {"on_event": events.append} if listens else {}
    result = await apply(db, files, on_backend=drops(database, lost), **options)
    assert [one["filename"] for one in result["applied"]] == list(files)
    assert [row["word"] for row in await db.fetch_all("SELECT word FROM app.log")] == ["1", "2", "3", "4", "5"]
    assert (await apply(db, files))["status"] == "up_to_date"
    assert not [one for one in events if one.kind == "migration_failed"]


async def test_one_transaction_whose_history_is_lost_starts_again(db: AsyncDatabaseManager, database: str) -> None:
    on_backend = drops(database, "DROP SCHEMA app CASCADE")
    migrations = AsyncMigrationManager(db, BATCHABLE, "m", on_backend=on_backend)
    result = await migrations.apply_pending_migrations(atomic="all")
    assert [one["filename"] for one in result["applied"]] == list(BATCHABLE)
    assert await db.fetch_value("SELECT count(*) FROM app.log") == 5


async def test_a_backfill_whose_history_is_lost_starts_again(db: AsyncDatabaseManager, database: str) -> None:
    await db.execute("CREATE TABLE public.numbers (id int PRIMARY KEY, doubled int)")
    await db.execute("INSERT INTO public.numbers SELECT generate_series(1, 50)")
    result = await apply(db, BACKFILL, on_backend=drops(database, "DROP SCHEMA app CASCADE"))
    assert [one["filename"] for one in result["applied"]] == ["1.sql"]
    assert await db.fetch_value("SELECT count(*) FROM public.numbers WHERE doubled = id * 2") == 50


async def test_a_history_that_others_have_created_and_lost_is_created_again(
    db: AsyncDatabaseManager, database: str
) -> None:
    await apply(db, {})
    await AsyncMigrationManager(db, {"other.sql": "SELECT 1"}, "other").apply_pending_migrations()
    result = await apply(db, BATCHABLE, on_backend=drops(database, "DROP TABLE app.schema_migrations"))
    assert len(result["applied"]) == 5


async def test_a_history_with_applied_files_is_not_created_again(db: AsyncDatabaseManager, database: str) -> None:
    await apply(db, {"1.sql": TABLE})
    with pytest.raises(Exception, match="schema_migrations"):
        await apply(db, BATCHABLE, on_backend=drops(database, "DROP TABLE app.schema_migrations"))
    assert await db.fetch_value("SELECT to_regclass('app.schema_migrations')") is None
    assert [row["word"] for row in await db.fetch_all("SELECT word FROM app.log")] == ["1"]


async def test_a_run_that_has_applied_files_does_not_start_again(db: AsyncDatabaseManager, database: str) -> None:
    def drop(event: Event) -> None:
        if event.kind == "migration_ended" and event.filename == "1.sql":
            execute(database, "DROP TABLE app.schema_migrations")

    with pytest.raises(Exception, match="schema_migrations"):
        await apply(db, BY_STATEMENT, on_event=drop)
    assert await db.fetch_value("SELECT to_regclass('app.schema_migrations')") is None
    assert [row["word"] for row in await db.fetch_all("SELECT word FROM app.log")] == ["1"]


@pytest.mark.parametrize("lost", ["DROP TABLE app.schema_migrations", "DROP SCHEMA app CASCADE"])
@pytest.mark.parametrize("operation", ["mark", "baseline"])
async def test_recording_in_a_history_that_is_lost_starts_again(
    db: AsyncDatabaseManager, database: str, monkeypatch: pytest.MonkeyPatch, operation: str, lost: str
) -> None:
    pending = [lost]
    create = MigrationEngine.create_tables

    async def create_and_lose(self: MigrationEngine) -> None:
        await create(self)
        if pending:
            execute(database, pending.pop())

    monkeypatch.setattr(MigrationEngine, "create_tables", create_and_lose)
    migrations = AsyncMigrationManager(db, {"1.sql": TABLE}, "m")
    await (migrations.mark("1.sql", applied=True) if operation == "mark" else migrations.baseline("1", check=False))
    assert list(await migrations.get_applied_migrations()) == ["1.sql"]
    assert not pending


async def test_marking_in_a_history_with_rows_does_not_create_it_again(
    db: AsyncDatabaseManager, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply(db, {"1.sql": TABLE})
    create = MigrationEngine.create_tables

    async def create_and_lose(self: MigrationEngine) -> None:
        await create(self)
        execute(database, "DROP TABLE app.schema_migrations")

    monkeypatch.setattr(MigrationEngine, "create_tables", create_and_lose)
    with pytest.raises(MigrationError, match=r"schema_migrations.* was dropped"):
        await AsyncMigrationManager(db, {"1.sql": TABLE, "2.sql": "SELECT 2"}, "m").mark("2.sql", applied=True)
