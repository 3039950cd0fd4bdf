"""A small test for each defect that the crash tests have found."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse
from pgdbm.migrations.state.journal import Journal, hash_of

from .cutting import CuttingProxy
from .effort import SEED, rounds, seeded_random
from .plans import HEAD, MigrationPlan
from .states import check_clean, history_of, migrate, opened_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from pgdbm.migrations.sources.parser import ParsedMigration

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

TABLE = {"1.sql": "CREATE TABLE {{tables.t}} AS SELECT i AS id, i % 7 AS kind FROM generate_series(1, 500) AS i"}
INDEX = {"2.sql": HEAD + "CREATE INDEX CONCURRENTLY t_kind ON {{tables.t}} (kind)"}
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'victim'"


def manager(db: AsyncDatabaseManager, files: Mapping[str, str], **options: Any) -> AsyncMigrationManager:
    return AsyncMigrationManager(db, files, "torture", **options)


def parsed(text: str) -> ParsedMigration:
    return parse(read_migration("1.sql", text.encode()), "app")


async def started_by_a_dead_runner(db: AsyncDatabaseManager, filename: str, text: str) -> None:
    async with db.acquire() as connection:
        journal = Journal("app", "torture")
        await journal.create(connection)
        await journal.begin(connection, filename, 1, hash_of(text), 1)


async def test_a_lock_conflict_during_parse_analysis_is_retried(db: AsyncDatabaseManager, connect: Connect) -> None:
    # INSERT takes its lock while it is parsed, so that the server's error has a position, like an error in the author's
    # SQL.
    await manager(db, TABLE).apply_pending_migrations()
    run: asyncio.Task[dict[str, Any]]
    async with connect() as other:
        async with other.transaction():
            await other.execute("LOCK TABLE app.t IN ACCESS EXCLUSIVE MODE")
            files = {**TABLE, "2.sql": "INSERT INTO {{tables.t}} VALUES (0, 0)"}
            migrations = manager(db, files, lock_timeout=0.05)
            run = asyncio.create_task(migrations.apply_pending_migrations())
            while not run.done() and not await migrations.journal():
                await asyncio.sleep(0.02)
        assert (await run)["status"] == "success"
    assert {entry.event for entry in await migrations.journal()} == {"retried"}


@pytest.mark.parametrize("was_dropped", [True, False])
async def test_the_catalog_decides_whether_an_index_was_dropped(db: AsyncDatabaseManager, was_dropped: bool) -> None:
    await manager(db, TABLE | INDEX).apply_pending_migrations()
    await started_by_a_dead_runner(db, "3.sql", 'DROP INDEX CONCURRENTLY "app".t_kind')
    if was_dropped:
        await db.execute("DROP INDEX app.t_kind")
    files = {**TABLE, **INDEX, "3.sql": HEAD + "DROP INDEX CONCURRENTLY {{tables.t_kind}}"}
    assert (await manager(db, files).apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value("SELECT to_regclass('app.t_kind')") is None


@pytest.mark.parametrize("what", ["INDEX CONCURRENTLY {{tables.t_kind}}", "TABLE CONCURRENTLY {{tables.t}}"])
async def test_leftovers_of_an_interrupted_reindex_are_dropped(
    db: AsyncDatabaseManager, database: str, connect: Connect, what: str
) -> None:
    await manager(db, TABLE | INDEX).apply_pending_migrations()
    reindex = MigrationPlan("reindex", {**TABLE, **INDEX, "3.sql": HEAD + f"REINDEX {what}"})
    async with opened_pool(database, "victim") as victim, connect() as other:
        async with other.transaction():
            # REINDEX CONCURRENTLY has its new index by the time it waits for the users of the old one.
            await other.execute("SELECT count(*) FROM app.t")
            run = asyncio.create_task(migrate(victim, "app", reindex))
            while not await other.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid"):
                await asyncio.sleep(0.02)
            await other.execute(f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) AS backends")
            with pytest.raises(pgdbm.ConnectionError):
                await run
        assert (await manager(db, reindex.files).apply_pending_migrations())["status"] == "success"
        await check_clean(other, what)


@pytest.mark.parametrize("atomic", ["file", "all"])
async def test_a_lost_connection_reports_what_is_applied(database: str, connect: Connect, atomic: str) -> None:
    files = {f"{number}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} ()" for number in (1, 2, 4)}
    plan = MigrationPlan("small", files | {"3.sql": "SELECT 1"}, {"atomic": atomic})
    async with CuttingProxy(database) as proxy, connect() as connection:
        async with opened_pool(proxy.dsn) as pool:
            proxy.arm(None)
            await migrate(pool, "whole", plan)
        messages = range(1, proxy.messages + 1)
        for number in seeded_random(f"lost {atomic}").sample(messages, min(len(messages), rounds(8, len(messages)))):
            schema = f"cut_{number}"
            proxy.arm(None)
            async with opened_pool(proxy.dsn) as pool:
                proxy.arm(number, "after")
                try:
                    applied = [one["filename"] for one in (await migrate(pool, schema, plan))["applied"]]
                except pgdbm.ConnectionError as error:
                    applied = error.details["applied"]
            assert applied == await history_of(connection, schema), f"seed {SEED}, message {number}"


@pytest.mark.parametrize("turns", range(4))
async def test_a_session_ended_between_two_queries_is_a_connection_error(database: str, turns: int) -> None:
    async with opened_pool(database, "victim") as pool:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        with pytest.raises(pgdbm.ConnectionError):  # noqa: PT012 - the end of the transaction fails as well
            async with db.transaction() as transaction:
                await transaction.fetch_value("SELECT 1")
                # This event loop sleeps while the server sends its last message and closes the connection.
                terminator = threading.Thread(target=asyncio.run, args=(terminate_victims(database),))
                terminator.start()
                terminator.join()
                for _ in range(turns):
                    await asyncio.sleep(0)
                await transaction.fetch_value("SELECT 1")


async def terminate_victims(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM ({_BACKENDS}) AS backends")
    await connection.close()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT " + " || ".join(["'a'"] * 200),
        " UNION ALL ".join(["SELECT 1"] * 200),
        "SELECT " + "ARRAY[" * 150 + "1" + "]" * 150,
    ],
    ids=["chain", "union", "nested"],
)
def test_a_deeply_nested_statement_is_applied(text: str) -> None:
    migration = parsed(f"CREATE TABLE a ();\n-- é\n{text};\nDROP TABLE a;\n")
    assert [migration.text_of(statement) for statement in migration.statements][::2] == [
        "CREATE TABLE a ()",
        "DROP TABLE a",
    ]
    assert migration.text_of(migration.statements[1]).endswith(text)
    assert migration.position(migration.statements[2].start) == (4, 1)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 NOT /* c */ IN (1)",
        "SELECT 1 NOT -- é\n BETWEEN 1 AND 2",
        "CREATE TABLE t (a timestamp WITH -- its zone\n TIME ZONE)",
        "SELECT 'a' -- é\n'b'",
    ],
)
def test_a_comment_inside_a_multi_word_operator_is_accepted(text: str) -> None:
    migration = parsed(f"-- é\n{text};\nSELECT 2;\n")
    assert [migration.text_of(statement) for statement in migration.statements] == [text, "SELECT 2"]


def test_deeply_nested_comments_are_refused() -> None:
    deep = "/*" * 20_000 + "*/" * 20_000
    with pytest.raises(pgdbm.MigrationFileError, match="nested") as caught:
        parsed(f"SELECT 1;\n{deep} SELECT 2")
    assert (caught.value.line, caught.value.column) == (2, 2001)
    assert len(parsed("/* a /* b */ */ SELECT 1;\n" * 1500).statements) == 1500


def test_an_error_after_non_ascii_text_has_its_position() -> None:
    with pytest.raises(pgdbm.MigrationFileError) as caught:
        parsed("SELECT 'é→😀'; SELECT 'ü';\nSELECT 1 AS größe; SELEC 2;\n")
    assert (caught.value.line, caught.value.column) == (2, 20)
