"""Histories in states that happen: rows that occur twice, a schema per tenant, a table that was moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.migrations.importers import import_history

if TYPE_CHECKING:
    from pgdbm.migrations.importers import ToolName

    from .conftest import Database

DUPLICATES: dict[ToolName, tuple[str, dict[str, str]]] = {
    "django": (
        "CREATE TABLE django_migrations (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, app text, name text,"
        " applied timestamptz);"
        "INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '0001_initial', '2024-01-01 00:00Z'),"
        " ('shop', '0002_more', '2024-01-02 00:00Z'), ('shop', '0001_initial', '2024-01-03 00:00Z')",
        {"001_shop_0001_initial.sql": "SELECT 1;", "002_shop_0002_more.sql": "SELECT 2;"},
    ),
    "knex": (
        "CREATE TABLE knex_migrations (id serial PRIMARY KEY, name text, batch int, migration_time timestamptz);"
        "INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('1_a.js', 1, '2024-01-01 00:00Z'),"
        " ('2_b.js', 1, '2024-01-02 00:00Z'), ('1_a.ts', 2, '2024-01-03 00:00Z')",
        {"1_a.sql": "SELECT 1;", "2_b.sql": "SELECT 2;"},
    ),
    "node-pg-migrate": (
        "CREATE TABLE pgmigrations (id serial PRIMARY KEY, name text, run_on timestamp);"
        "INSERT INTO pgmigrations (name, run_on) VALUES ('1_a', '2024-01-01'), ('2_b', '2024-01-02'),"
        " ('1_a', '2024-01-03')",
        {"1_a.sql": "SELECT 1;", "2_b.sql": "SELECT 2;"},
    ),
}


@pytest.mark.parametrize("tool", DUPLICATES)
async def test_a_row_that_occurs_twice_is_one_migration(target: Database, tool: ToolName) -> None:
    """These tables have no unique constraint: two processes that migrate, or a restored dump, leave such rows."""
    tables, files = DUPLICATES[tool]
    await target.run(tables)
    report = await target.take(tool, files)
    assert report.imported == tuple(files)
    rows = await target.rows()
    assert [row.applied_at.day for row in rows.values()] == [1, 2]
    assert (await target.take(tool, files)).already_applied == tuple(files)
    assert await target.pending(files) == []


async def test_each_schema_has_a_history_of_its_own(target: Database) -> None:
    """A tool that migrated a schema per tenant has left each where it was."""
    files = {"00001_a.sql": "CREATE TABLE {{tables.a}} ();", "00002_b.sql": "CREATE TABLE {{tables.b}} ();"}
    for schema, reached in (("tenant_a", 2), ("tenant_b", 1)):
        await target.run(
            f"CREATE SCHEMA {schema}; SET search_path = {schema};"
            "CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint, is_applied boolean,"
            " tstamp timestamp DEFAULT now());"
            f"INSERT INTO goose_db_version (version_id, is_applied) SELECT n, true FROM generate_series(0, {reached}) n"
        )
    taken = {}
    for schema in ("tenant_a", "tenant_b"):
        db = AsyncDatabaseManager(pool=target.db.pool, schema=schema)
        taken[schema] = (await import_history(db, "goose", files, "app")).imported
        await AsyncMigrationManager(db, files, "app").apply_pending_migrations()
    assert taken == {"tenant_a": tuple(files), "tenant_b": ("00001_a.sql",)}
    assert [await target.db.table_exists(f"tenant_{one}.b") for one in "ab"] == [False, True]


async def test_a_table_with_another_name_in_another_schema(target: Database) -> None:
    await target.run(
        "CREATE SCHEMA ops; CREATE TABLE ops.applied (version varchar PRIMARY KEY);"
        "INSERT INTO ops.applied VALUES ('1'), ('3')"
    )
    files = {f"{number}_x.sql": f"SELECT {number};" for number in (1, 2, 3)}
    error = await target.refusal("dbmate", files)
    assert error.reason == "no_history"
    report = await target.take("dbmate", files, source_schema="ops", source_table="applied")
    assert (report.imported, report.pending) == (("1_x.sql", "3_x.sql"), ("2_x.sql",))
    assert "2_x.sql: pending, although dbmate has applied newer ones" in report.notes[0]
