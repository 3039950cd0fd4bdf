"""Statements of one file that share a message: fewer round trips, the same places of errors, the same events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, DatabaseConfig

from ...support.counting_proxy import CountingProxy
from .applying import apply, failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COUNT = 2000
TABLE = {"1.sql": "CREATE TABLE {{tables.t}} (id int PRIMARY KEY, n int CHECK (n < 10)); CREATE SEQUENCE {{tables.s}};"}
ROWS = {"2.sql": f"INSERT INTO {{{{tables.t}}}} SELECT i, 0 FROM generate_series(1, {COUNT}) i"}


@pytest.fixture
async def db(database: str) -> AsyncIterator[AsyncDatabaseManager]:
    config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=3)
    async with AsyncDatabaseManager(config) as manager:
        yield manager


def updates(count: int = COUNT, **others: str) -> str:
    lines = {f"l{number}": f"UPDATE {{{{tables.t}}}} SET n = 1 WHERE id = {number};" for number in range(1, count + 1)}
    return "-- One line each.\n" + "\n".join((lines | others).values())


def inserts(count: int, last: str) -> str:
    lines = ["INSERT INTO {{tables.t}} VALUES (nextval('{{tables.s}}'), 1);"] * (count - 1)
    return "\n".join([*lines, last])


async def test_many_updates_take_few_round_trips_and_report_progress(database: str) -> None:
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, schema="app", min_connections=1, max_connections=1)
        async with AsyncDatabaseManager(config) as db:
            await apply(db, TABLE | ROWS)
            events: list[Any] = []
            before = proxy.round_trips
            await apply(db, TABLE | ROWS | {"3.sql": updates()}, on_event=events.append)
            # Fewer than one message per statement; the exact number depends on the speed of the machine.
            assert proxy.round_trips - before < COUNT / 2
            assert await db.fetch_value("SELECT count(*) FROM {{tables.t}} WHERE n = 1") == COUNT
    started = [event.statement for event in events if event.kind == "statement_started"]
    ended = [event.statement for event in events if event.kind == "statement_ended"]
    assert ended[-1] == COUNT
    # Each event is about the statement after the last one that ended.
    assert started == [1, *(number + 1 for number in ended[:-1])]


@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize(
    ("statement", "sqlstate", "column"),
    [
        ("UPDATE {{tables.t}} SET n = 10 WHERE id = 1503;", "23514", 1),
        ("UPDATE {{tables.t}} SET unknown = 1;", "42703", 25),
        ("DELETE FROM {{tables.t}} WHERE 1 / (id - 1503) = 1;", "22012", 1),
    ],
)
async def test_the_place_of_an_error_among_many_statements(
    db: AsyncDatabaseManager, statement: str, sqlstate: str, column: int, listens: bool
) -> None:
    options: dict[str, Any] = {"on_event": lambda _: None} if listens else {}
    error = await failure(db, TABLE | ROWS | {"3.sql": updates(l1503=statement)}, **options)
    assert (error.migration_file, error.sqlstate) == ("3.sql", sqlstate)
    assert (error.statement, error.line, error.column) == (1503, 1504, column)
    assert await db.fetch_value("SELECT count(*) FROM {{tables.t}} WHERE n = 1") == 0
    # The run continues as if each statement of the file had been a message of its own.
    result = await apply(db, TABLE | ROWS | {"3.sql": updates()}, **options)
    assert [one["filename"] for one in result["applied"]] == ["3.sql"]


@pytest.mark.parametrize("listens", [False, True])
async def test_a_violated_key_is_found_without_running_the_file_again(db: AsyncDatabaseManager, listens: bool) -> None:
    options: dict[str, Any] = {"on_event": lambda _: None} if listens else {}
    files = TABLE | {"2.sql": inserts(COUNT, "INSERT INTO {{tables.t}} VALUES (1, 1);")}
    await apply(db, TABLE)
    error = await failure(db, files, **options)
    assert (error.sqlstate, error.statement, error.line, error.column) == ("23505", COUNT, COUNT, 1)
    assert "Key (id)=(1) already exists" in (error.detail or "")
    # A sequence is not rolled back.
    assert await db.fetch_value("SELECT last_value FROM {{tables.s}}") == COUNT - 1


async def test_the_place_in_a_later_file_of_a_message(db: AsyncDatabaseManager) -> None:
    files = TABLE | {
        "2.sql": "INSERT INTO {{tables.t}} VALUES (nextval('{{tables.s}}'), 1); -- The end; really",
        # It changes the session, which is cleaned in the same message.
        "3.sql": "CREATE TEMP TABLE pg_temp.t3 (id int);;;\n;SET LOCAL work_mem = '8MB';",
        "4.sql": "COMMENT ON TABLE {{tables.t}} IS ';';\n  INSERT INTO {{tables.t}} VALUES (2, 1);\n"
        "INSERT INTO {{tables.t}} VALUES\n(1, 1);\nINSERT INTO {{tables.t}} VALUES (nextval('{{tables.s}}'), 1);",
        "5.sql": "SELECT 1",
    }
    error = await failure(db, files)
    assert (error.migration_file, error.statement, error.line, error.column) == ("4.sql", 3, 3, 1)
    assert [one["filename"] for one in error.applied] == ["1.sql", "2.sql", "3.sql"]
    assert await db.fetch_value("SELECT last_value FROM {{tables.s}}") == 1


async def test_an_audit_with_current_query_sees_statement_by_statement(db: AsyncDatabaseManager) -> None:
    audit = (
        "CREATE TABLE {{tables.audit}} (query text);\n"
        "CREATE FUNCTION {{tables.keep}}() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO {{tables.audit}} VALUES (current_query()); RETURN NULL; END $$;\n"
        "CREATE TRIGGER audit AFTER UPDATE ON {{tables.t}} EXECUTE FUNCTION {{tables.keep}}();"
    )
    await apply(db, TABLE | ROWS | {"3.sql": audit})
    await apply(db, TABLE | ROWS | {"3.sql": audit, "4.sql": updates(40)})
    assert await db.fetch_value("SELECT max(regexp_count(query, 'UPDATE')) FROM {{tables.audit}}") == 1
    assert await db.fetch_value("SELECT count(*) FROM {{tables.audit}}") == 40
