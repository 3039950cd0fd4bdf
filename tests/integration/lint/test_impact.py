"""The plan has the sizes of the tables that are locked, and a sentence for each file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.migrations.lint.table_words import short
from pgdbm.migrations.state.tables import read_use
from pgdbm.sql import statement

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from pgdbm.migrations.engine.migration_plan import MigrationPlan

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

TABLES = (
    "CREATE TABLE {{tables.full}} AS SELECT i AS id, i::text AS x FROM generate_series(1, 2000) i;\n"
    "CREATE TABLE {{tables.empty}} (id integer, x text);\n"
    "CREATE TABLE {{tables.parted}} (id integer) PARTITION BY RANGE (id);\n"
    "CREATE TABLE {{tables.low}} PARTITION OF {{tables.parted}} FOR VALUES FROM (0) TO (100);\n"
    "CREATE TABLE {{tables.high}} PARTITION OF {{tables.parted}} FOR VALUES FROM (100) TO (1000);\n"
    "INSERT INTO {{tables.parted}} SELECT generate_series(0, 299);\n"
    "ANALYZE;"
)


async def planned(db: AsyncDatabaseManager, *contents: str) -> MigrationPlan:
    tables = {"001_tables.sql": TABLES}
    await AsyncMigrationManager(db, tables, "m").apply_pending_migrations()
    files = {f"{number:03}_x.sql": content for number, content in enumerate(contents, 2)}
    return await AsyncMigrationManager(db, tables | files, "m").plan(squawk=False)


@pytest.mark.parametrize(
    ("sql", "verb", "waits"),
    [
        ("VACUUM FULL {{tables.full}}", "rewrites", "while reads and writes wait"),
        ("ALTER TABLE {{tables.full}} ADD y uuid DEFAULT gen_random_uuid()", "rewrites", "while reads and writes wait"),
        ("ALTER TABLE {{tables.full}} ADD y int DEFAULT mine()", "may rewrite", "while reads and writes wait"),
        ("ALTER TABLE {{tables.full}} ALTER id TYPE bigint", "may rewrite", "while reads and writes wait"),
        ("ALTER TABLE {{tables.full}} ALTER id SET NOT NULL", "scans", "while reads and writes wait"),
        ("CREATE INDEX i ON {{tables.full}} (id)", "builds an index of", "while writes wait"),
        ("CREATE INDEX CONCURRENTLY i ON {{tables.full}} (id)", "locks", "while schema changes wait"),
        ("ALTER TABLE {{tables.full}} ADD y int", "locks", "while reads and writes wait"),
    ],
)
async def test_a_sentence_has_rows_and_bytes(db: AsyncDatabaseManager, sql: str, verb: str, waits: str) -> None:
    plan = await planned(db, f"-- pgdbm:no-transaction\n{sql}")
    size = await db.fetch_value("SELECT pg_total_relation_size('app.full')")
    found = plan.tables["app.full"]
    assert (found.relation, found.rows, found.size_bytes) == ("app.full", 2000, size)
    kilobytes = short(size, (" B", " kB", " MB"))
    assert plan.pending[0].impact == f"{verb} app.full (2.0 k rows, {kilobytes}) {waits}"


async def test_a_table_without_rows_has_no_finding(db: AsyncDatabaseManager) -> None:
    heavy = "ALTER TABLE {{{{tables.{0}}}}} ALTER id TYPE bigint; CREATE INDEX {0}_i ON {{{{tables.{0}}}}} (id)"
    full, empty = (await planned(db, heavy.format("full"), heavy.format("empty"))).pending
    assert {one.rule for one in full.findings} >= {"PGDBM005", "PGDBM009"}
    assert not {one.rule for one in empty.findings} & {"PGDBM005", "PGDBM009"}
    assert empty.impact == "locks app.empty (no rows) while reads and writes wait"


async def test_an_unknown_number_of_rows_is_not_zero(db: AsyncDatabaseManager) -> None:
    await db.execute("CREATE SCHEMA IF NOT EXISTS app; CREATE TABLE app.young AS SELECT 1 AS id")
    plan = await planned(db, "ALTER TABLE {{tables.young}} ALTER id TYPE bigint")
    assert plan.tables["app.young"].rows != 0
    assert [one.rule for one in plan.pending[0].findings] == ["PGDBM005"]


async def test_an_empty_table_that_refers_to_a_full_one_is_a_finding(db: AsyncDatabaseManager) -> None:
    await db.execute("CREATE SCHEMA IF NOT EXISTS app; CREATE TABLE app.target AS SELECT 1 AS id")
    sql = "ALTER TABLE {{tables.empty}} ADD FOREIGN KEY (id) REFERENCES {{tables.target}} (id)"
    assert [one.rule for one in (await planned(db, sql)).pending[0].findings] == ["PGDBM007"]


async def test_a_partitioned_table_has_the_rows_of_its_partitions(db: AsyncDatabaseManager) -> None:
    plan = await planned(db, "ALTER TABLE {{tables.parted}} ALTER id SET NOT NULL")
    assert plan.tables["app.parted"].rows == 300
    parts = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname IN ('low', 'high')"
    assert plan.tables["app.parted"].size_bytes == await db.fetch_value(parts)


async def test_the_heaviest_statement_is_the_one_that_is_named(db: AsyncDatabaseManager) -> None:
    plan = await planned(
        db,
        "ALTER TABLE {{tables.empty}} ADD y int; ALTER TABLE {{tables.full}} ALTER id TYPE bigint; "
        "CREATE INDEX j ON {{tables.full}} (x); DO $$ BEGIN END $$",
        "CREATE TABLE {{tables.mine}} (id int); CREATE INDEX k ON {{tables.mine}} (id)",
        "DO $$ BEGIN END $$",
    )
    first, own, opaque = (one.impact for one in plan.pending)
    assert first.startswith("may rewrite app.full (2.0 k rows, ")
    assert first.endswith(" while reads and writes wait; the locks of another statement are unknown")
    assert (own, opaque) == ("nothing waits for it", "its locks are unknown")


async def test_a_table_that_does_not_exist_yet_has_no_size(db: AsyncDatabaseManager) -> None:
    plan = await planned(db, "CREATE TABLE {{tables.later}} (id int)", "ALTER TABLE {{tables.later}} ADD y int")
    assert plan.tables == {}
    assert plan.pending[1].impact == "locks app.later while reads and writes wait"


async def test_a_table_that_another_session_holds_delays_no_plan(db: AsyncDatabaseManager, connect: Connect) -> None:
    await planned(db)
    async with connect() as connection:
        await connection.execute("BEGIN; LOCK TABLE app.full")
        plan = await planned(db, "ALTER TABLE {{tables.full}} ADD y int")
        await connection.execute("ROLLBACK")
    assert plan.tables == {}
    assert plan.pending[0].impact == "locks app.full while reads and writes wait"


def test_numbers_are_short() -> None:
    numbers = (0, 7, 812, 999, 1200, 41_000_000, 999_600)
    assert [short(one) for one in numbers] == ["0", "7", "812", "999", "1.2 k", "41 M", "1.0 M"]
    assert short(12_000_000_000, (" B", " kB", " MB", " GB", " TB")) == "12 GB"


async def test_the_sizes_are_one_query_that_leaves_no_setting(connect: Connect, db: AsyncDatabaseManager) -> None:
    await planned(db)
    async with connect() as connection:
        before = await connection.fetchval("SHOW lock_timeout")
        assert (await read_use(connection, ["app.full", "app.none"])).keys() == {"app.full"}
        assert await connection.fetchval("SHOW lock_timeout") == before != "100ms"


async def test_the_queries_execute_no_operator_of_a_schema(connect: Connect, db: AsyncDatabaseManager) -> None:
    await planned(db)
    blockers = statement("watch", "blockers")
    async with connect() as connection, connect() as holder, connect() as waiting:
        await holder.execute("BEGIN; LOCK TABLE app.empty")
        blocked = asyncio.create_task(waiting.execute("BEGIN; LOCK TABLE app.empty; COMMIT"))
        for name, left, right in (
            *(("||", one, other) for one in ("name", "text") for other in ("name", "text")),
            *((">=", "real", other) for other in ("integer", "real")),
            *((one, "bigint", "integer") for one in ("=", ">")),
            *(("=", "name", other) for other in ("name", "text")),
        ):
            kind = "text" if name == "||" else "boolean"
            function = f"CREATE OR REPLACE FUNCTION app.planted({left}, {right}) RETURNS {kind} LANGUAGE plpgsql"
            await connection.execute(
                f"DROP FUNCTION IF EXISTS app.planted({left}, {right}) CASCADE;"
                f"{function} AS $$ BEGIN RAISE 'planted'; END $$;"
                f"CREATE OPERATOR app.{name} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = app.planted)"
            )
            await connection.execute("SET search_path = app")
            assert await read_use(connection, ["app.full"])
            async with asyncio.timeout(60):
                while not (found := await connection.fetch(blockers, waiting.get_server_pid())):
                    await asyncio.sleep(0.02)
            assert found[0]["relation"] == "app.empty"
        await holder.execute("ROLLBACK")
        await blocked


async def test_a_plan_knows_how_a_table_is_used(db: AsyncDatabaseManager, connect: Connect) -> None:
    await planned(db)
    async with connect() as connection:
        await connection.execute("BEGIN; SELECT FROM app.full LIMIT 1")
        found = (await planned(db, "ALTER TABLE {{tables.full}} ADD y int")).tables["app.full"]
        assert found.longest_transaction_s is not None
        assert found.longest_transaction_s > 0
        await connection.execute("COMMIT")
    assert found.statistics_since is not None
    assert found.reads_per_s is not None
    assert found.writes_per_s is not None
    await db.execute("SELECT pg_stat_reset()")
    # A session reports what it did at its end.
    async with connect() as connection:
        await connection.execute("INSERT INTO app.full SELECT 1 FROM generate_series(1, 500); SELECT FROM app.full")
    async with asyncio.timeout(60):
        while not found.writes_per_s or not found.reads_per_s:
            await asyncio.sleep(0.05)
            found = (await planned(db, "ALTER TABLE {{tables.full}} ADD y int")).tables["app.full"]
    assert found.reads_per_s > 0
    assert found.longest_transaction_s is None
    assert found.statistics_since == await db.fetch_value(
        "SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()"
    )


async def test_what_the_catalog_proves_has_no_finding(db: AsyncDatabaseManager) -> None:
    not_null = "ALTER TABLE {{tables.full}} ALTER id SET NOT NULL, ALTER x SET NOT NULL"
    checks = ("id IS NOT NULL AND id > 0", "x IS NOT NULL OR id > 0")
    await planned(db)
    for number, check in enumerate(checks):
        await db.execute(f"ALTER TABLE app.full ADD CONSTRAINT c{number} CHECK ({check})")
    (found,) = (await planned(db, not_null)).pending[0].findings
    assert "x is never null" in found.message
    await db.execute("ALTER TABLE app.full ADD CONSTRAINT c2 CHECK (x IS NOT NULL) NOT VALID")
    assert (await planned(db, not_null)).pending[0].findings == (found,)
    await db.execute("ALTER TABLE app.full VALIDATE CONSTRAINT c2")
    (plan,) = (await planned(db, not_null)).pending
    assert plan.findings == ()
    assert plan.impact.startswith("locks app.full (2.0 k rows, ")


async def test_a_primary_key_of_columns_that_are_not_null_needs_no_check(db: AsyncDatabaseManager) -> None:
    key = "ALTER TABLE {{tables.full}} ADD PRIMARY KEY (id)"
    (plan,) = (await planned(db, key)).pending
    assert plan.fix is not None
    assert len(plan.fix.files) == 5
    await db.execute("ALTER TABLE app.full ALTER id SET NOT NULL")
    (plan,) = (await planned(db, key)).pending
    assert plan.fix is not None
    assert [file.filename for file in plan.fix.files] == ["002_x.sql", "002.1_x.sql"]
