"""Rehearsing migrations: what is reported, and that nothing else is changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig
from pgdbm.migrations.rehearsal.run import rehearse
from pgdbm.migrations.sources.migration import checksum_of
from pgdbm.migrations.sources.source import MemorySource
from pgdbm.migrations.state.catalog import read_catalog
from pgdbm.migrations.state.changes import difference
from pgdbm.migrations.state.history import History
from pgdbm.migrations.state.snapshots import own_tables
from pgdbm.pgparse.lock_modes import LockMode

from ...conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    from pgdbm.migrations.rehearsal.results import Rehearsal

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

FIRST = {
    "001_t.sql": "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY, name text);",
    "002_rows.sql": "INSERT INTO {{tables.t}} SELECT i FROM generate_series(1, 10) i;",
}
OTHER = "CREATE SCHEMA other; CREATE TABLE other.t (id integer PRIMARY KEY); CREATE TABLE other.log (what text)"


@pytest.fixture
async def applied(db: AsyncDatabaseManager) -> AsyncDatabaseManager:
    """A manager of schema ``app`` that has :data:`FIRST`; beside it is a schema ``other``."""
    await AsyncMigrationManager(db, FIRST, "app", snapshots=False).apply_pending_migrations()
    await db.execute(OTHER)
    return db


async def rehearsed(db: AsyncDatabaseManager, *pending: str, **options: Any) -> Rehearsal:
    files = FIRST | {f"{number:03}_pending.sql": text for number, text in enumerate(pending, 3)}
    history = History(db.schema or "public", "schema_migrations", "app")
    result = await rehearse(db, MemorySource(files).collect(), history, **options)
    left = await db.fetch_all("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgdbm_rehearsal%'")
    assert left == []
    return result


async def everything(db: AsyncDatabaseManager) -> dict[str, Any]:
    """The state that a rehearsal must not change."""
    async with db.acquire() as connection:
        found: dict[str, Any] = {schema: await read_catalog(connection, schema) for schema in ("app", "other")}
        for table in ("app.t", "other.t", "other.log", "app.schema_migrations"):
            found[table] = await connection.fetch(f"TABLE {table}")
        for catalog in ("pg_namespace", "pg_extension", "pg_roles"):
            found[catalog] = await connection.fetch(f"SELECT * FROM {catalog} ORDER BY 1, 2")
    return found


async def test_locks_and_times_of_each_statement(applied: AsyncDatabaseManager) -> None:
    before = await everything(applied)
    result = await rehearsed(
        applied,
        "ALTER TABLE {{tables.t}} ADD COLUMN extra text;\n\n  CREATE INDEX t_name ON {{tables.t}} (name);",
        "UPDATE {{tables.t}} SET name = 'x'; CREATE TABLE {{tables.u}} (t integer REFERENCES {{tables.t}});",
    )
    assert result.succeeded
    assert result.replayed == list(FIRST)
    assert [file.filename for file in result.files] == ["003_pending.sql", "004_pending.sql"]
    assert [file.note for file in result.files] == [None, None]
    add_column, index, update, create = [one for file in result.files for one in file.statements]
    assert [(one.number, one.kind, one.line, one.column) for one in (add_column, index)] == [
        (1, "ALTER TABLE ADD COLUMN", 1, 1),
        (2, "CREATE INDEX", 3, 3),
    ]
    assert add_column.milliseconds > 0

    def locks(one: Any, *, new: bool = False) -> set[tuple[str | None, LockMode]]:
        assert not any(lock.in_other_schema for lock in one.locks)
        return {(lock.relation, lock.mode) for lock in one.locks if lock.on_new_object is new}

    assert locks(add_column) == {("app.t", LockMode.ACCESS_EXCLUSIVE)}
    assert locks(index) == {("app.t", LockMode.SHARE)}
    # Each file has its own transaction: the table was committed, and its locks are seen again.
    assert {("app.t", LockMode.ROW_EXCLUSIVE), ("app.t_pkey", LockMode.ROW_EXCLUSIVE)} <= locks(update)
    assert ("app.t", LockMode.SHARE_ROW_EXCLUSIVE) in locks(create)
    assert ("app.u", LockMode.ACCESS_EXCLUSIVE) in locks(create, new=True)
    assert await everything(applied) == before


async def test_a_failure_is_data_with_its_place(applied: AsyncDatabaseManager) -> None:
    result = await rehearsed(
        applied,
        "CREATE TABLE {{tables.u}} ();\nSELECT 1\n  / 0;\n",
        "CREATE TABLE {{tables.w}} ()",
    )
    assert not result.succeeded
    failure = result.failure
    assert failure is not None
    assert (failure.filename, failure.statement, failure.line, failure.column) == ("003_pending.sql", 2, 2, 1)
    assert (failure.sqlstate, failure.message) == ("22012", "division by zero")
    assert not failure.replaying
    assert result.not_reached == ("004_pending.sql",)
    assert len(result.files[0].statements) == 1
    typo = (await rehearsed(applied, "SELECT\n  nothing FROM {{tables.t}}")).failure
    assert typo is not None
    assert (typo.line, typo.column, typo.sqlstate) == (2, 3, "42703")


async def test_a_deferred_constraint_fails_at_the_commit(applied: AsyncDatabaseManager) -> None:
    result = await rehearsed(
        applied,
        "CREATE TABLE {{tables.u}} (t integer REFERENCES {{tables.t}} DEFERRABLE INITIALLY DEFERRED);",
        "INSERT INTO {{tables.u}} VALUES (99);",
    )
    assert result.failure is not None
    assert (result.failure.filename, result.failure.statement, result.failure.sqlstate) == (
        "004_pending.sql",
        None,
        "23503",
    )


async def test_a_history_that_cannot_be_replayed_is_reported(applied: AsyncDatabaseManager) -> None:
    files = FIRST | {"003_other.sql": "CREATE TABLE other.made (id integer)"}
    await AsyncMigrationManager(applied, files, "app").apply_pending_migrations()
    history = History("app", "schema_migrations", "app")
    result = await rehearse(applied, MemorySource({**files, "004_x.sql": "SELECT 1"}).collect(), history)
    assert result.failure is not None
    assert result.failure.replaying
    assert (result.failure.filename, result.failure.sqlstate) == ("003_other.sql", "42P07")
    assert result.not_reached == ("004_x.sql",)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO other.log VALUES ('x')",
        "DO $$ BEGIN INSERT INTO other.log VALUES ('x'); END $$",
        "DO $$ BEGIN CREATE FUNCTION other.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'; END $$",
        "DO $$ BEGIN CREATE SCHEMA made; END $$",
        "DO $$ BEGIN CREATE ROLE made_by_rehearsal; END $$",
        "DO $$ BEGIN DROP TYPE other.mood; END $$",
        "CREATE ROLE made_by_rehearsal",
        "CREATE SCHEMA made",
        "CREATE EXTENSION hstore SCHEMA public",
        "COMMENT ON TABLE other.t IS 'x'",
        "GRANT SELECT ON other.t TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA other GRANT SELECT ON TABLES TO PUBLIC",
        "SELECT set_config('x.y', 'z', false); INSERT INTO other.log VALUES ('x')",
    ],
)
async def test_effects_outside_the_schema_are_rolled_back(applied: AsyncDatabaseManager, statement: str) -> None:
    await applied.execute("CREATE TYPE other.mood AS ENUM ('sad')")
    before = await everything(applied)
    result = await rehearsed(applied, statement, "CREATE TABLE {{tables.u}} ()")
    assert result.succeeded, result
    assert result.kept_open_since == "003_pending.sql"
    assert all((file.note or "").startswith("not committed") for file in result.files)
    assert await everything(applied) == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW {{tables.v}} AS SELECT * FROM other.t",
        "CREATE TABLE {{tables.u}} (id integer REFERENCES other.t)",
        "DO $$ BEGIN CREATE TABLE {{tables.u}} (); EXCEPTION WHEN duplicate_table THEN NULL; END $$",
        "CREATE EXTENSION IF NOT EXISTS plpgsql",
        "CREATE SCHEMA IF NOT EXISTS other",
        "INSERT INTO {{tables.t}} SELECT id FROM other.t",
        "UPDATE {{tables.t}} SET name = 'x'; ALTER TABLE {{tables.t}} DROP COLUMN name",
    ],
)
async def test_effects_inside_the_schema_are_committed(applied: AsyncDatabaseManager, statement: str) -> None:
    before = await everything(applied)
    result = await rehearsed(applied, statement)
    assert result.succeeded, result
    assert result.kept_open_since is None
    assert result.files[0].note is None
    assert await everything(applied) == before


async def test_locks_outside_are_reported(applied: AsyncDatabaseManager) -> None:
    result = await rehearsed(applied, "CREATE TABLE {{tables.u}} (id integer REFERENCES other.t)")
    locks = result.files[0].statements[0].locks or ()
    assert ("other.t", LockMode.SHARE_ROW_EXCLUSIVE) in {
        (lock.relation, lock.mode) for lock in locks if lock.in_other_schema
    }


async def test_it_stops_before_it_would_block_other_sessions(applied: AsyncDatabaseManager) -> None:
    before = await everything(applied)
    result = await rehearsed(applied, "ALTER TABLE other.t ADD COLUMN x integer", "CREATE TABLE {{tables.u}} ()")
    assert not result.succeeded
    assert result.failure is None
    assert "ACCESS EXCLUSIVE on other.t" in (result.stopped or "")
    assert result.not_reached == ("004_pending.sql",)
    assert ("other.t", LockMode.ACCESS_EXCLUSIVE) in {
        (lock.relation, lock.mode) for lock in result.files[0].statements[0].locks or ()
    }
    assert await everything(applied) == before


async def test_files_without_a_transaction_run_too(applied: AsyncDatabaseManager) -> None:
    before = await everything(applied)
    result = await rehearsed(
        applied,
        "-- pgdbm:no-transaction\n"
        "CREATE INDEX CONCURRENTLY t_name ON {{tables.t}} (name);\n"
        "UPDATE {{tables.t}} SET name = 'x';\n"
        "VACUUM {{tables.t}};\n"
        "INSERT INTO other.log VALUES ('x');\n"
        "VACUUM;\n"
        "ALTER SYSTEM SET work_mem = '1MB';\n"
        "DO $$ BEGIN COMMIT; END $$;\n",
        "DROP INDEX {{tables.t_name}}",
    )
    assert result.succeeded, result
    ran = result.files[0].statements
    assert [one.skipped is None for one in ran] == [True, True, True, True, False, False, False]
    assert [one.locks is None for one in ran] == [True, False, True, False, True, True, True]
    assert "statement 4 was undone" in (result.files[0].note or "")
    assert result.files[1].note is None
    assert await everything(applied) == before


async def test_new_values_of_a_type_can_be_used_in_the_next_file(applied: AsyncDatabaseManager) -> None:
    result = await rehearsed(
        applied,
        "CREATE TYPE {{tables.mood}} AS ENUM ('sad')",
        "ALTER TYPE {{tables.mood}} ADD VALUE 'glad'",
        "CREATE TABLE {{tables.u}} (mood {{tables.mood}} DEFAULT 'glad')",
    )
    assert result.succeeded, result


async def test_a_time_limit_ends_it(applied: AsyncDatabaseManager) -> None:
    before = await everything(applied)
    result = await rehearsed(applied, "SELECT 1", "SELECT pg_sleep(60)", "SELECT 2", timeout=1.0)
    assert "longer than 1.0 s" in (result.stopped or "")
    assert [file.filename for file in result.files] == ["003_pending.sql", "004_pending.sql"]
    assert result.not_reached == ("005_pending.sql",)
    assert await everything(applied) == before


async def test_it_waits_for_locks_no_longer_than_it_may(applied: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as holder, holder.transaction():
        await holder.execute("LOCK TABLE other.t")
        result = await rehearsed(applied, "CREATE VIEW {{tables.v}} AS SELECT * FROM other.t", lock_timeout=0.05)
    assert result.failure is not None
    assert result.failure.sqlstate == "55P03"


async def test_a_cancelled_rehearsal_cleans_up(applied: AsyncDatabaseManager) -> None:
    before = await everything(applied)
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
    task = asyncio.create_task(rehearsed(applied, "CREATE TABLE {{tables.u}} ()", "SELECT pg_sleep(60)"))
    while not await applied.fetch_value(sleeping):
        assert not task.done(), task
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await everything(applied) == before


async def test_schemas_left_by_a_killed_process_are_dropped(applied: AsyncDatabaseManager, connect: Connect) -> None:
    dead, alive = "pgdbm_rehearsal_00000000000000ab", "pgdbm_rehearsal_00000000000000cd"
    await applied.execute(f"CREATE SCHEMA {dead}; CREATE TABLE {dead}.t (); CREATE SCHEMA {alive}")
    async with connect() as other:
        await other.execute(f"SELECT pg_advisory_lock(hashtextextended('{alive}', 0))")
        history = History("app", "schema_migrations", "app")
        assert (await rehearse(applied, MemorySource(FIRST).collect(), history)).succeeded
        names = "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'pgdbm_rehearsal%'"
        assert [row[0] for row in await other.fetch(names)] == [alive]


async def test_an_abandoned_schema_that_cannot_be_dropped_is_logged(
    applied: AsyncDatabaseManager, caplog: pytest.LogCaptureFixture
) -> None:
    await applied.execute(
        "CREATE FUNCTION public.keep() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects()"
        "            WHERE object_identity = 'pgdbm_rehearsal_0123456789abcdef')"
        " THEN RAISE 'it is kept'; END IF; END $$;"
        "CREATE EVENT TRIGGER keep ON sql_drop EXECUTE FUNCTION public.keep();"
        "CREATE SCHEMA pgdbm_rehearsal_0123456789abcdef"
    )
    history = History("app", "schema_migrations", "app")
    rehearsal = await rehearse(applied, MemorySource(FIRST).collect(), history)
    assert rehearsal.succeeded
    assert "pgdbm_rehearsal_0123456789abcdef" in caplog.text
    assert "could not be dropped: it is kept" in caplog.text


async def test_concurrent_rehearsals_do_not_interfere(applied: AsyncDatabaseManager) -> None:
    files = MemorySource(FIRST | {"003_u.sql": "CREATE TABLE {{tables.u}} ()"}).collect()
    history = History("app", "schema_migrations", "app")
    results = await asyncio.gather(*(rehearse(applied, files, history) for _ in range(3)))
    assert [(result.succeeded, result.left_behind) for result in results] == [(True, None)] * 3


async def test_bare_names_mean_the_rehearsals_tables(database: str) -> None:
    files = {"001_t.sql": "CREATE TABLE t (id integer); INSERT INTO t VALUES (1)"}
    for schema in ("app", "public", None):
        config = DatabaseConfig(connection_string=database, schema=schema, min_connections=1, max_connections=3)
        async with AsyncDatabaseManager(config) as db:
            await AsyncMigrationManager(db, files, "app").apply_pending_migrations()
            pending = MemorySource(files | {"002_u.sql": "DELETE FROM t; ALTER TABLE t ADD COLUMN x int"}).collect()
            result = await rehearse(db, pending, History(schema or "public", "schema_migrations", "app"))
            assert result.succeeded, result
            assert result.kept_open_since is None, result
            assert await db.fetch_value("SELECT count(*) FROM t") == 1
            assert await db.fetch_value("SELECT to_jsonb(t) FROM t") == '{"id": 1}'
            await db.execute("DROP TABLE t, schema_migrations")


async def test_what_was_built_can_be_compared(applied: AsyncDatabaseManager, connect: Connect) -> None:
    result = await rehearsed(applied, "ALTER TABLE {{tables.t}} ADD COLUMN extra text", with_catalog=True)
    assert result.catalog is not None
    async with connect() as connection:
        real = await read_catalog(connection, "app", own_tables(["schema_migrations"]))
    assert [(one.kind, one.object_kind, one.name) for one in difference(real, result.catalog)] == [
        ("added", "column", "t.extra")
    ]


async def test_the_sample_modules_can_be_rehearsed(pool: asyncpg.Pool[Any]) -> None:
    for module in ("identity", "catalog", "orders"):
        db = AsyncDatabaseManager(pool=pool, schema=module)
        manager = AsyncMigrationManager(db, ROOT / "migrations_repo" / module, module)
        migrations = await manager.find_migration_files()
        history = History(module, "schema_migrations", module)
        first = await rehearse(db, migrations, history, with_catalog=True)
        assert first.succeeded, first
        await manager.apply_pending_migrations()
        second = await rehearse(db, migrations, history, with_catalog=True)
        assert second.succeeded, second
        assert (len(second.replayed), second.files) == (len(migrations), [])
        async with pool.acquire() as connection:
            real = await read_catalog(connection, module, own_tables(["schema_migrations"]))
        for rehearsal in (first, second):
            assert rehearsal.kept_open_since is None, rehearsal.files
            assert difference(real, rehearsal.catalog or ()) == ()


async def test_a_file_whose_checksum_has_a_byte_order_mark_is_replayed(db: AsyncDatabaseManager) -> None:
    """As pgdbm recorded it before 0.6."""
    await AsyncMigrationManager(db, FIRST, "app", snapshots=False).apply_pending_migrations()
    checksum = checksum_of("\ufeff" + FIRST["001_t.sql"])
    await db.execute("UPDATE app.schema_migrations SET checksum = $1 WHERE filename = '001_t.sql'", checksum)
    result = await rehearsed(db, "ALTER TABLE {{tables.t}} ADD more integer")
    assert (result.replayed, result.failure) == (list(FIRST), None)
