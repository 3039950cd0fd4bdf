"""A file that ends its own session fails at the second attempt. An outage does not make a file fail."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, ConnectionError, DatabaseConfig, MigrationExecutionError
from pgdbm.embedded import EmbeddedPostgres

from .applying import apply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

SLEEP = "SELECT pg_sleep(60)"
WORK: dict[str, Callable[[AsyncMigrationManager], Coroutine[Any, Any, Any]]] = {
    "apply": lambda manager: manager.apply_pending_migrations(),
    "revert": lambda manager: manager.revert(),
    "rehearse": lambda manager: manager.rehearse(),
}
END = "pg_terminate_backend(pg_backend_pid())"
FIRST = {"001_a.sql": "CREATE TABLE {{tables.a}} (id integer)"}
# With the number of the statement that is named; None in a message of several files.
ENDINGS = {
    "a query": (f"CREATE TABLE {{{{tables.b}}}} (id integer);\nSELECT {END};\nSELECT 1;", 2),
    "a block": (f"DO $$ BEGIN PERFORM {END}; END $$", 1),
    "among many": ("INSERT INTO {{tables.a}} VALUES (1);\n" * 40 + f"DELETE FROM {{{{tables.a}}}} WHERE {END};\n", 41),
    "inserted": (f"INSERT INTO {{{{tables.a}}}} VALUES ({END}::int)", None),
    "step by step": (f"-- pgdbm:no-transaction\nSELECT 1;\nSELECT {END};\nSELECT 2;", 2),
    "own transaction": (f"-- pgdbm:no-transaction\nSELECT 1;\nBEGIN;\nSELECT {END};\nCOMMIT;", 2),
}


async def lost(db: AsyncDatabaseManager, files: dict[str, str], **options: Any) -> None:
    with pytest.raises(ConnectionError):
        await apply(db, files, **options)


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("content", ENDINGS.values(), ids=ENDINGS)
async def test_a_file_that_ends_its_own_session(
    db: AsyncDatabaseManager, content: tuple[str, int | None], listens: bool
) -> None:
    files = {**FIRST, "002_end.sql": content[0], "003_c.sql": "SELECT 1"}
    events: list[Any] = []
    options: dict[str, Any] = {"on_event": events.append} if listens else {}
    await lost(db, files, **options)
    for _ in range(2):
        with pytest.raises(MigrationExecutionError) as failed:
            await apply(db, files, **options)
        assert failed.value.migration_file == "002_end.sql"
        alone = 1 if listens else None
        assert failed.value.statement == (content[1] or alone)
        assert "ended the session" in str(failed.value)
        assert "pg_terminate_backend" in str(failed.value.hint)
    manager = AsyncMigrationManager(db, files, "m")
    states = {one.filename: one.state for one in (await manager.status()).migrations}
    assert states["002_end.sql"] in ("failed", "partial")
    kinds = [one.event for one in await manager.journal() if one.event in ("connection_lost", "failed")]
    assert kinds.count("connection_lost") == 3
    if listens:
        assert [one.filename for one in events if one.kind == "migration_failed"] == ["002_end.sql"] * 2
    repaired = {**files, "002_end.sql": content[0].replace(END, "false")}
    assert (await apply(db, repaired))["status"] == "success"


async def test_another_place_is_another_matter(db: AsyncDatabaseManager) -> None:
    """Another session ends it here and there: each time the next run may well come through."""
    files = {**FIRST, "002_end.sql": f"SELECT 1;\nSELECT {END};"}
    await lost(db, files)
    await lost(db, {**files, "002_end.sql": f"DELETE FROM {{{{tables.a}}}};\nDO $$ BEGIN PERFORM {END}; END $$"})
    await lost(db, files)
    with pytest.raises(MigrationExecutionError):
        await apply(db, files)


async def test_all_or_nothing_names_the_file(db: AsyncDatabaseManager) -> None:
    files = {**FIRST, "002_end.sql": f"SELECT 1;\nSELECT {END};"}
    with pytest.raises(ConnectionError):
        await AsyncMigrationManager(db, files, "m").apply_pending_migrations(atomic="all")
    with pytest.raises(MigrationExecutionError) as failed:
        await AsyncMigrationManager(db, files, "m").apply_pending_migrations(atomic="all")
    assert (failed.value.migration_file, failed.value.statement) == ("002_end.sql", 2)


@pytest.mark.parametrize("head", ["", "-- pgdbm:no-transaction\n"], ids=["in a transaction", "without"])
async def test_a_down_migration_that_ends_its_own_session(db: AsyncDatabaseManager, head: str) -> None:
    files = {
        **FIRST,
        "001_a.down.sql": "DROP TABLE {{tables.a}};",
        "002_b.sql": "CREATE TABLE {{tables.b}} ();",
        "002_b.down.sql": f"{head}INSERT INTO {{{{tables.a}}}} VALUES (1);\nSELECT {END};\nSELECT 3;",
    }
    place = f"002_b.down.sql:{3 if head else 2}:1: statement 2: "
    await apply(db, files)
    manager = AsyncMigrationManager(db, files, "m")
    with pytest.raises(ConnectionError) as lost_once:
        await manager.revert()
    assert str(lost_once.value).startswith(place)
    assert "002_b.sql is not reverted" in str(lost_once.value)
    for _ in range(2):
        with pytest.raises(MigrationExecutionError) as failed:
            await manager.revert(2)
        assert str(failed.value).startswith(f"{place}The server ended the session")
        assert (failed.value.migration_file, failed.value.statement) == ("002_b.down.sql", 2)
        assert "pg_terminate_backend" in str(failed.value.hint)
    assert list(await manager.get_applied_migrations()) == ["001_a.sql", "002_b.sql"]
    assert await db.fetch_value("SELECT count(*) FROM {{tables.a}}") == (1 if head else 0)
    repaired = {**files, "002_b.down.sql": files["002_b.down.sql"].replace(END, "false")}
    manager = AsyncMigrationManager(db, repaired, "m")
    assert [one.filename for one in await manager.revert(2)] == ["002_b.sql", "001_a.sql"]


async def test_a_down_migration_that_came_through_in_between_is_not_to_blame(db: AsyncDatabaseManager) -> None:
    """What another session ended once, and again after the migration was reverted and applied again."""
    down = f"DO $$ BEGIN IF EXISTS (SELECT FROM public.ends) THEN PERFORM {END}; END IF; END $$"
    files = {**FIRST, "001_a.down.sql": f"{down};\nDROP TABLE {{{{tables.a}}}};"}
    await db.execute("CREATE TABLE public.ends (); INSERT INTO public.ends DEFAULT VALUES")
    manager = AsyncMigrationManager(db, files, "m")
    for _ in range(2):
        await apply(db, files)
        await db.execute("INSERT INTO public.ends DEFAULT VALUES")
        with pytest.raises(ConnectionError):
            await manager.revert()
        await db.execute("TRUNCATE public.ends")
        await manager.revert()


@pytest.mark.parametrize("content", ENDINGS.values(), ids=ENDINGS)
async def test_a_rehearsal_names_the_statement_that_ends_its_own_session(
    db: AsyncDatabaseManager, content: tuple[str, int | None]
) -> None:
    files = {**FIRST, "002_end.sql": content[0], "003_c.sql": "SELECT 1"}
    found = await AsyncMigrationManager(db, files, "m").rehearse()
    assert found.failure is not None
    assert (found.failure.filename, found.failure.sqlstate) == ("002_end.sql", "57P01")
    assert found.failure.statement == content[0].partition(END)[0].count(";") + 1
    assert "ended the session" in found.failure.message
    assert "pg_terminate_backend" in str(found.failure.hint)
    assert found.not_reached == ("003_c.sql",)
    assert found.left_behind is None
    assert await db.fetch_value("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgdbm_rehearsal%'") == 0


async def until_asleep(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        while True:
            pid = await connection.fetchval("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.01)
    finally:
        await connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("outage", ["restart", "immediate restart", "crash of another"])
@pytest.mark.parametrize("work", WORK)
async def test_an_outage_is_not_the_fault_of_the_file(tmp_path: Path, outage: str, work: str) -> None:
    files = {"001_a.sql": "SELECT 1" if work == "revert" else SLEEP, "001_a.down.sql": SLEEP}
    with EmbeddedPostgres(tmp_path / "data") as server:

        async def attempt() -> None:
            config = DatabaseConfig(connection_string=server.dsn(), schema="app", min_connections=0, max_connections=2)
            async with AsyncDatabaseManager(config) as db:
                manager = AsyncMigrationManager(db, files, "m")
                if work == "revert":
                    await manager.apply_pending_migrations()
                run = asyncio.create_task(WORK[work](manager))
                await until_asleep(server.dsn())
                if outage == "crash of another":
                    other = await asyncpg.connect(server.dsn())
                    os.kill(other.get_server_pid(), signal.SIGKILL)
                    other.terminate()
                else:
                    port = server.port
                    await asyncio.to_thread(server.stop, timeout=30 if outage == "restart" else 0)
                    server._fixed_port = port
                    await asyncio.to_thread(server.start)
                with pytest.raises(ConnectionError):
                    await run

        for _ in range(3):
            await attempt()


@pytest.mark.slow
@pytest.mark.parametrize("work", WORK)
async def test_a_file_that_crashes_its_backend(tmp_path: Path, work: str) -> None:
    """The other sessions end, too; the server comes back by itself, and is not the one to blame."""
    asleep = f"SELECT 1;\n{SLEEP}"
    files = {"001_a.sql": "SELECT 1" if work == "revert" else asleep, "001_a.down.sql": asleep}
    with EmbeddedPostgres(tmp_path / "data") as server:

        async def attempt() -> Any:
            config = DatabaseConfig(connection_string=server.dsn(), schema="app", min_connections=0, max_connections=2)
            async with AsyncDatabaseManager(config) as db:
                manager = AsyncMigrationManager(db, files, "m")
                if work == "revert":
                    await manager.apply_pending_migrations()
                run = asyncio.create_task(WORK[work](manager))
                # What a bug of an extension, or the lack of memory, does to it.
                os.kill(await until_asleep(server.dsn()), signal.SIGKILL)
                return await run

        if work == "rehearse":
            failure = (await attempt()).failure
            assert (failure.filename, failure.statement) == ("001_a.sql", 2)
            assert "crashed" in failure.message
            assert "Signal 9" in failure.hint
            return
        with pytest.raises(ConnectionError):
            await attempt()
        with pytest.raises(MigrationExecutionError) as failed:
            await attempt()
        name = "001_a.down.sql" if work == "revert" else "001_a.sql"
        assert (failed.value.migration_file, failed.value.statement) == (name, 2)
        assert "Signal 9" in str(failed.value.hint)
