"""What the rules claim about the server, compared with a server: which statements rewrite a table, which fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm.migrations.lint.findings import inspect
from pgdbm.migrations.sources.migration import read_migration
from pgdbm.migrations.sources.parser import parse_file
from pgdbm.pgparse.lock_levels import LockMode

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

SETUP = """
CREATE SCHEMA app;
CREATE TABLE app.other (id integer PRIMARY KEY);
CREATE TABLE app.t (id integer PRIMARY KEY, a varchar(10), n numeric(8, 2), b integer);
INSERT INTO app.t VALUES (1, 'x', 1.5, 2);
CREATE TYPE app.mood AS ENUM ('sad');
"""


def rules_of(sql: str, version: int = 18) -> set[str]:
    file = parse_file(read_migration("case.sql", sql.encode()), "app")
    (found,) = inspect([file], version, schema="app", squawk=False)
    return {finding.rule for finding in found.findings}


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN z integer",
        "ADD COLUMN z integer DEFAULT 7",
        "ADD COLUMN z integer NOT NULL DEFAULT 7",
        "ADD COLUMN z timestamptz DEFAULT now()",
        "ADD COLUMN z timestamptz DEFAULT CURRENT_TIMESTAMP",
        "ADD COLUMN z jsonb DEFAULT '{}'::jsonb",
        "ADD COLUMN z jsonb DEFAULT jsonb_build_object('at', now())",
        "ADD COLUMN z text DEFAULT lower(current_setting('server_version'))",
        "ADD COLUMN z timestamptz DEFAULT clock_timestamp()",
        "ADD COLUMN z uuid DEFAULT gen_random_uuid()",
        "ADD COLUMN z double precision DEFAULT 1 + random()",
        "ADD COLUMN z serial",
        "ADD COLUMN z bigint GENERATED ALWAYS AS IDENTITY",
        "ADD COLUMN z integer GENERATED ALWAYS AS (b * 2) STORED",
        "ADD COLUMN z integer REFERENCES app.other",
        "ALTER COLUMN a TYPE text",
        "ALTER COLUMN a TYPE varchar",
        "ALTER COLUMN n TYPE numeric",
        "ALTER COLUMN b TYPE bigint",
        "ALTER COLUMN a TYPE text USING upper(a)",
        "SET UNLOGGED",
        "ALTER COLUMN b SET DEFAULT 3",
        "DROP COLUMN a",
    ],
)
async def test_statements_that_rewrite_the_table_are_found(change: str, connect: Connect) -> None:
    statement = f"ALTER TABLE app.t {change}"
    async with connect() as connection:
        await connection.execute(SETUP)
        before = await connection.fetchval("SELECT pg_relation_filenode('app.t')")
        await connection.execute(statement)
        rewritten = before != await connection.fetchval("SELECT pg_relation_filenode('app.t')")
    assert bool(rules_of(statement) & {"PGDBM003", "PGDBM005", "PGDBM020"}) == rewritten


@pytest.mark.parametrize(
    ("sql", "rule", "error"),
    [
        ("ALTER TABLE app.t ADD COLUMN z integer NOT NULL", "PGDBM004", asyncpg.NotNullViolationError),
        ("ALTER TABLE app.t ADD COLUMN z integer NOT NULL DEFAULT 1", "PGDBM004", None),
        (
            "ALTER TYPE app.mood ADD VALUE 'calm'; SELECT 'calm'::app.mood",
            "PGDBM018",
            asyncpg.UnsafeNewEnumValueUsageError,
        ),
        ("ALTER TYPE app.mood ADD VALUE 'calm'; SELECT 'sad'::app.mood", "PGDBM018", None),
    ],
)
async def test_statements_reported_as_failing_do_fail(
    sql: str, rule: str, error: type[asyncpg.PostgresError] | None, connect: Connect
) -> None:
    async with connect() as connection:
        await connection.execute(SETUP)
        raised = None
        try:
            async with connection.transaction():
                await connection.execute(sql)
        except asyncpg.PostgresError as caught:
            raised = type(caught)
        version = connection.get_server_version().major
    assert raised is error
    assert (rule in rules_of(sql, version)) == (error is not None)


async def test_a_new_value_of_a_new_enum(connect: Connect) -> None:
    sql = "CREATE TYPE app.fresh AS ENUM ('a'); ALTER TYPE app.fresh ADD VALUE 'b'; SELECT 'b'::app.fresh"
    async with connect() as connection:
        await connection.execute(SETUP)
        failed = False
        try:
            async with connection.transaction():
                await connection.execute(sql)
        except asyncpg.UnsafeNewEnumValueUsageError:
            failed = True
        version = connection.get_server_version().major
    assert ("PGDBM018" in rules_of(sql, version)) == failed == (version < 17)


async def test_lock_conflicts_are_those_of_the_server(connect: Connect) -> None:
    async with connect() as holder, connect() as other:
        await holder.execute(SETUP)
        for held in LockMode:
            async with holder.transaction():
                await holder.execute(f"LOCK TABLE app.t IN {held.sql} MODE")
                refused = set()
                for wanted in LockMode:
                    try:
                        async with other.transaction():
                            await other.execute(f"LOCK TABLE app.t IN {wanted.sql} MODE NOWAIT")
                    except asyncpg.LockNotAvailableError:
                        refused.add(wanted)
            assert refused == held.conflicts


@pytest.mark.parametrize("mode", list(LockMode))
async def test_each_lock_mode_blocks_what_the_server_blocks(mode: LockMode, connect: Connect) -> None:
    """``blocks`` names the most that an application notices: a read, a write, or a change of the schema."""
    async with connect() as holder, connect() as other:
        await holder.execute(SETUP)
        await other.execute("SET lock_timeout = '50ms'")
        stopped = []
        async with holder.transaction():
            await holder.execute(f"LOCK TABLE app.t IN {mode.sql} MODE")
            for what, statement in (
                ("reads", "SELECT * FROM app.t"),
                ("writes", "UPDATE app.t SET b = 3"),
                ("schema changes", "ALTER TABLE app.t SET (fillfactor = 90)"),
            ):
                try:
                    await other.execute(statement)
                except asyncpg.LockNotAvailableError:
                    stopped.append(what)
    assert (
        mode.blocks
        == {
            "reads": "reads and writes",
            "writes": "writes",
            "schema changes": "schema changes",
            "": "nothing",
        }[stopped[0] if stopped else ""]
    )
