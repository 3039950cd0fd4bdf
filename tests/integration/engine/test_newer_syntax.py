"""Files with statements that the parser cannot read: cut by the scanner, checked by the server, run one by one.

Here the parser believes that the server under test is newer. A statement that nests too deeply is valid and cannot be
decoded; servers before 18 have syntax that the grammar no longer has.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.migrations.engine.copy_rows import send_statement
from pgdbm.migrations.sources import parser
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse
from pgdbm.migrations.sources.statements import Statement
from pgdbm.pgparse.traits import UNKNOWN

from ...support.migration_processes import MigrationProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

HEAD = "-- pgdbm:no-transaction\n"
DEEP = " || ".join(["id::text"] * 200)
FIRST = "CREATE TABLE {{tables.t}} AS SELECT i AS id FROM generate_series(1, 3) i;\n"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(autouse=True)
async def _newer_server(db: AsyncDatabaseManager, monkeypatch: pytest.MonkeyPatch) -> None:
    async with db.acquire() as connection:
        monkeypatch.setattr(parser, "GRAMMAR_VERSION", connection.get_server_version().major - 1)


def manager(db: AsyncDatabaseManager, *contents: str, **options: Any) -> AsyncMigrationManager:
    files = {f"{number}.sql": content for number, content in enumerate(contents, 1)}
    return AsyncMigrationManager(db, files, "m", **options)


async def until_blocked(connection: asyncpg.Connection[Any]) -> int:
    """The pid of the backend that waits for a lock."""
    async with asyncio.timeout(60):
        while True:
            pid = await connection.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if pid is not None:
                return int(pid)
            await asyncio.sleep(0.02)


async def until_ended(connection: asyncpg.Connection[Any], pid: int) -> None:
    async with asyncio.timeout(60):
        while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
            await asyncio.sleep(0.02)


async def killed_while_blocked(database: str, connect: Connect, files: dict[str, str], blocking: str) -> None:
    """Let a process apply ``files``, and kill it and its backend while it waits for a session that ran ``blocking``."""
    async with MigrationProcess(database) as runner, connect() as blocker, connect() as connection:
        await blocker.execute(blocking)
        await runner.send("app", files, lock_timeout=None)
        pid = await until_blocked(connection)
        await runner.kill()
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        await until_ended(connection, pid)
        await blocker.execute("ROLLBACK")


async def test_a_syntax_error_of_the_server_has_its_line_and_nothing_is_kept(db: AsyncDatabaseManager) -> None:
    with pytest.raises(pgdbm.MigrationExecutionError) as caught:
        await manager(db, FIRST + "-- é\n\nFROBNICATE\n  TABLE t;\nCREATE TABLE u ();").apply_pending_migrations()
    error = caught.value
    assert (error.statement, error.line, error.column, error.sqlstate) == (2, 4, 1, "42601")
    assert not await db.table_exists("t")


async def test_an_error_within_the_statement_has_its_own_line(db: AsyncDatabaseManager) -> None:
    with pytest.raises(pgdbm.MigrationExecutionError) as caught:
        await manager(db, FIRST + "SELECT 1;\nSELECT\n  FROM FROM t;").apply_pending_migrations()
    assert (caught.value.statement, caught.value.line, caught.value.column) == (3, 4, 8)


async def test_an_unreadable_statement_runs_with_the_others(db: AsyncDatabaseManager) -> None:
    insert = f"INSERT INTO {{{{tables.r}}}} SELECT {DEEP} FROM {{{{tables.t}}}}"
    run = manager(db, f"{FIRST}CREATE TABLE {{{{tables.r}}}} (x text);\n{insert};\nSELECT 1")
    assert (await run.apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value("SELECT count(*) FROM {{tables.r}}") == 3


async def test_the_others_are_checked_before_anything_runs(db: AsyncDatabaseManager) -> None:
    for content, place in (
        ("FROBNICATE;\nCOMMIT;", "2:1: statement 2"),
        ("FROBNICATE;\nCOMMIT AND FROBNICATE;", "2:1: statement 2"),
        ("FROBNICATE;\nVACUUM;", "2:1: statement 2"),
        ("FROBNICATE begin atomic;\nCOMMIT;\nFROBNICATE end", "2:1: statement 2"),
    ):
        with pytest.raises(pgdbm.MigrationFileError, match=place):
            await manager(db, FIRST, content).apply_pending_migrations()
    assert not await db.table_exists("t")


async def test_a_server_that_reads_several_statements_runs_none_of_them(connect: Connect) -> None:
    """A statement that the scanner cuts at the wrong place: what it contains is refused."""
    text = "SELECT 1; COMMIT; CREATE TABLE hidden (); BEGIN"
    parsed = parse(read_migration("1.sql", b"SELECT 1"), "app")
    parsed = type(parsed)(parsed.migration, type(parsed.rendered)(text, text, None), (), transactional=True)
    statement = Statement(1, 0, len(text), UNKNOWN)
    async with connect() as connection:
        await connection.execute("BEGIN; CREATE TABLE before ()")
        with pytest.raises(asyncpg.PostgresSyntaxError, match="multiple commands"):
            await send_statement(connection, parsed, statement, 60)
        await connection.execute("ROLLBACK")
        assert await connection.fetchval("SELECT to_regclass('hidden') IS NULL AND to_regclass('before') IS NULL")


async def test_a_module_with_a_role_has_no_unreadable_statements(db: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as connection:
        role = await connection.fetchval("SELECT current_user")
    for hidden in ("FROBNICATE", "REPACK t", "SET ROLE a FROBNICATE", "SELECT 1 GROUP BY ALL"):
        with pytest.raises(pgdbm.MigrationFileError, match=r"1\.sql:4:1: statement 3.*it cannot be checked"):
            await manager(db, f"{FIRST}SELECT\n1;\n{hidden}", role=role).apply_pending_migrations()


async def test_without_a_transaction_it_resumes_at_the_statement_that_failed(db: AsyncDatabaseManager) -> None:
    start = HEAD + FIRST + f"INSERT INTO {{{{tables.t}}}} SELECT length({DEEP}) FROM {{{{tables.t}}}};\n"
    with pytest.raises(pgdbm.MigrationExecutionError, match="resumes at statement 3") as caught:
        await manager(db, start + "\nFROBNICATE t;\nSELECT 1").apply_pending_migrations()
    assert (caught.value.line, caught.value.sqlstate) == (5, "42601")
    assert await db.fetch_value("SELECT count(*) FROM {{tables.t}}") == 6
    await manager(db, start + "\nVACUUM {{tables.t}};\nSELECT 1").apply_pending_migrations()
    assert await db.fetch_value("SELECT count(*) FROM {{tables.t}}") == 6


async def test_a_transaction_of_the_file_with_a_statement_that_is_not_valid_is_not_started(
    db: AsyncDatabaseManager,
) -> None:
    with pytest.raises(pgdbm.MigrationExecutionError) as caught:
        await manager(db, f"{HEAD}BEGIN;\n{FIRST}FROBNICATE;\nCOMMIT;").apply_pending_migrations()
    assert (caught.value.statement, caught.value.line) == (3, 4)
    assert not await db.table_exists("t")
    run = manager(db, f"{HEAD}BEGIN;\n{FIRST}SELECT {DEEP} FROM {{{{tables.t}}}};\nCOMMIT;")
    assert (await run.apply_pending_migrations())["status"] == "success"


async def test_a_killed_runner_leaves_nothing_of_an_unreadable_statement_in_a_transaction(
    database: str, db: AsyncDatabaseManager, connect: Connect
) -> None:
    insert = f"INSERT INTO {{{{tables.r}}}} SELECT {DEEP} FROM {{{{tables.t}}}};\n"
    files = {
        "1.sql": f"{HEAD}{FIRST}CREATE TABLE {{{{tables.r}}}} (x text);\n{insert}"
        "SELECT count(*) FROM {{tables.t}};\nCREATE TABLE {{tables.after}} ();"
    }
    made = {"1.sql": HEAD + FIRST + "CREATE TABLE {{tables.r}} (x text);\nSELECT 1/0"}
    with pytest.raises(pgdbm.MigrationExecutionError):
        await AsyncMigrationManager(db, made, "racer").apply_pending_migrations()
    await killed_while_blocked(database, connect, files, "BEGIN; LOCK TABLE app.r IN SHARE MODE")
    assert (await AsyncMigrationManager(db, files, "racer").apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value("SELECT count(*) FROM {{tables.r}}") == 3
    assert await db.table_exists("after")


async def test_the_outcome_outside_a_transaction_is_unknown_after_a_kill(
    database: str, db: AsyncDatabaseManager, connect: Connect
) -> None:
    files = {
        "1.sql": HEAD
        + FIRST
        + f"CREATE INDEX CONCURRENTLY i ON {{{{tables.t}}}} (({DEEP}));\nCREATE TABLE {{{{tables.after}}}} ();"
    }
    run = AsyncMigrationManager(db, files, "racer")
    snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class"
    await killed_while_blocked(database, connect, files, snapshot)
    with pytest.raises(pgdbm.MigrationUnknownError, match=r"1\.sql:3:1: statement 2.*resolve_statement"):
        await run.apply_pending_migrations()
    await db.execute("DROP INDEX app.i")
    await run.resolve_statement("1.sql", 2, done=False)
    assert (await run.apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'app.i'::regclass")
    assert await db.table_exists("after")


async def test_syntax_that_only_the_server_knows(db: AsyncDatabaseManager) -> None:
    async with db.acquire() as connection:
        if connection.get_server_version().major >= 18:
            pytest.skip("the grammar has all of its syntax")
    content = (
        FIRST + "CREATE OPERATOR CLASS {{schema}}.c FOR TYPE int4 USING btree AS OPERATOR 1 < RECHECK,\n"
        "  OPERATOR 3 = , FUNCTION 1 btint4cmp(int4, int4);\nCREATE TABLE {{tables.after}} ();"
    )
    plan = await manager(db, content).plan()
    assert [one.kind for one in plan.pending[0].statements] == ["CREATE TABLE AS", "unknown", "CREATE TABLE"]
    assert (await manager(db, content).apply_pending_migrations())["status"] == "success"
    assert await db.fetch_value("SELECT count(*) FROM pg_opclass WHERE opcname = 'c'") == 1
    assert await db.table_exists("after")
