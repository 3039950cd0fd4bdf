"""Files that share a message have the events that they have alone, once they are on disk."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

from ...support.counting_proxy import CountingProxy

if TYPE_CHECKING:
    from pgdbm.migrations.engine.events import Event

COUNT = 100
FILES = {
    f"{number:03}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} (id int UNIQUE);\n"
    f"INSERT INTO {{{{tables.t{number}}}}} VALUES (1);"
    for number in range(1, COUNT + 1)
}

CREATIONS = {
    f"{number}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} (id int PRIMARY KEY);\n"
    f"CREATE INDEX ON {{{{tables.t{number}}}}} (id);"
    for number in range(1, 5)
}


def config(dsn: str) -> DatabaseConfig:
    return DatabaseConfig(connection_string=dsn, schema="app", min_connections=1, max_connections=3)


def without_statements(events: list[Event]) -> list[tuple[str, str | None]]:
    return [(event.kind, event.filename) for event in events if not event.kind.startswith(("statement_", "run_"))]


async def test_many_files_take_few_round_trips(database: str) -> None:
    received: list[Event] = []
    async with CountingProxy(database) as proxy, AsyncDatabaseManager(config(proxy.dsn)) as db:
        before = proxy.round_trips
        await AsyncMigrationManager(
            db, FILES, "m", on_event=received.append, snapshots=False
        ).apply_pending_migrations()
        assert proxy.round_trips - before < COUNT / 3
    for filename in FILES:
        events = [event for event in received if event.filename == filename]
        assert (events[0].kind, events[-1].kind) == ("migration_started", "migration_ended")
        started, *_, last, ended = events
        assert (started.statements, last.statement, last.statements) == (2, 2, 2)
        assert last.details["execution_time_ms"] >= 0
        assert ended.details["execution_time_ms"] >= 0
    in_order = [name for kind, name in without_statements(received) if kind == "migration_ended"]
    assert in_order == list(FILES)


@pytest.mark.parametrize("failing", [1, 2, 3, 50, COUNT])
async def test_a_failure_in_a_message(database: str, failing: int) -> None:
    names = list(FILES)
    name = names[failing - 1]
    files = FILES | {name: FILES[name] * 2}
    if failing % 2:
        files[name] = FILES[name] + f"INSERT INTO {{{{tables.t{failing}}}}} VALUES (1);"
    received: list[Event] = []
    async with AsyncDatabaseManager(config(database)) as db:
        manager = AsyncMigrationManager(db, files, "m", on_event=received.append)
        with pytest.raises(pgdbm.MigrationExecutionError) as caught:
            await manager.apply_pending_migrations()
        kept = {one.filename for one in await manager.history(COUNT)}
    assert (caught.value.migration_file, caught.value.statement) == (name, 3)
    assert kept == set(names[: failing - 1])
    assert without_statements(received) == [
        *((kind, one) for one in names[: failing - 1] for kind in ("migration_started", "migration_ended")),
        ("migration_started", name),
        ("migration_failed", name),
    ]


@pytest.mark.parametrize("references", [False, True])
async def test_a_run_begins_with_several_files_if_they_wait_for_nothing(database: str, references: bool) -> None:
    """A foreign key locks the other table, so the first file is then sent by statement."""
    files = CREATIONS
    if references:
        files = files | {"1.sql": CREATIONS["1.sql"].replace("PRIMARY KEY", "PRIMARY KEY REFERENCES public.other")}
    received: list[Event] = []
    async with AsyncDatabaseManager(config(database)) as db:
        await db.execute("CREATE TABLE public.other (id int PRIMARY KEY)")
        await AsyncMigrationManager(db, files, "m", on_event=received.append).apply_pending_migrations()
    sent = Counter(event.filename for event in received if event.kind == "statement_started")
    assert sent == dict.fromkeys(files, 1) | {"1.sql": 2 if references else 1}
    assert without_statements(received) == [
        (kind, one) for one in files for kind in ("migration_started", "migration_ended")
    ]


@pytest.mark.parametrize("failing", [1, 2, 4])
async def test_a_failure_in_the_first_message(database: str, failing: int) -> None:
    names, name = list(CREATIONS), f"{failing}.sql"
    files = CREATIONS | {name: CREATIONS[name].replace("} (id);", "} (missing);")}
    received: list[Event] = []
    async with AsyncDatabaseManager(config(database)) as db:
        manager = AsyncMigrationManager(db, files, "m", on_event=received.append)
        with pytest.raises(pgdbm.MigrationExecutionError, match='"missing" does not exist') as caught:
            await manager.apply_pending_migrations()
        kept = {one.filename for one in await manager.history()}
    assert (caught.value.migration_file, caught.value.statement, caught.value.line) == (name, 2, 2)
    assert kept == set(names[: failing - 1])
    assert without_statements(received) == [
        *((kind, one) for one in names[: failing - 1] for kind in ("migration_started", "migration_ended")),
        ("migration_started", name),
        ("migration_failed", name),
    ]


async def test_a_file_of_a_message_that_waits_for_a_lock_is_retried(database: str) -> None:
    received: list[Any] = []
    async with AsyncDatabaseManager(config(database)) as db:
        await db.execute("CREATE TABLE public.busy (id int)")
        files = FILES | {"050.sql": "COMMENT ON TABLE public.busy IS 'why'"}
        async with db.transaction() as holder:
            await holder.execute("LOCK TABLE public.busy IN ACCESS EXCLUSIVE MODE")
            manager = AsyncMigrationManager(db, files, "m", on_event=received.append, lock_timeout=0.1, retry_for=0)
            with pytest.raises(pgdbm.MigrationExecutionError):
                await manager.apply_pending_migrations()
        result = await manager.apply_pending_migrations()
    assert [one["filename"] for one in result["applied"]] == list(files)[49:]
    ended = [event.filename for event in received if event.kind == "migration_ended"]
    assert ended == list(files)
