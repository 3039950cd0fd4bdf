"""Snapshots of a schema, and the differences from them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm.migrations.state.drift import drift
from pgdbm.migrations.state.history import History
from pgdbm.migrations.state.snapshots import Touched, save

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

HISTORY = "schema_migrations"
SCHEMA = f"CREATE SCHEMA app; {History('app', HISTORY, 'first').sql('create')};"


@pytest.fixture
async def applied(db: AsyncDatabaseManager) -> AsyncDatabaseManager:
    """A manager whose schema ``app`` has one migration applied."""
    files = {"001_t.sql": "CREATE TABLE {{tables.t}} (id integer)"}
    await AsyncMigrationManager(db, files, "first", snapshots=False).apply_pending_migrations()
    return db


async def test_without_a_snapshot_drift_is_unknown(connect: Connect) -> None:
    async with connect() as connection:
        report = await drift(connection, "app", HISTORY)
    assert not report.clean
    assert report.since is None
    assert report.changes == ()
    assert report.reason is not None


async def test_drift_is_what_changed_since_the_snapshot(applied: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as connection:
        fingerprint = await save(connection, "app", "first", HISTORY)
        report = await drift(connection, "app", HISTORY)
        assert report.clean
        assert report.module == "first"
        since = report.since
        await applied.execute("ALTER TABLE {{tables.t}} ADD COLUMN extra text; CREATE TABLE {{tables.other}} ()")
        report = await drift(connection, "app", HISTORY)
        assert not report.clean
        assert report.since == since
        assert {(one.kind, one.object_kind, one.name) for one in report.changes} == {
            ("added", "column", "t.extra"),
            ("added", "table", "other"),
        }
        await applied.execute("ALTER TABLE {{tables.t}} DROP COLUMN extra; DROP TABLE {{tables.other}}")
        assert (await drift(connection, "app", HISTORY)).clean
        await applied.execute("ALTER TABLE {{tables.t}} ADD COLUMN kept text")
        assert await save(connection, "app", "first", HISTORY) != fingerprint
        assert (await drift(connection, "app", HISTORY)).clean


@pytest.mark.usefixtures("applied")
async def test_a_snapshot_is_not_compressed_again(connect: Connect) -> None:
    """CREATE TABLE takes the storage of a column since PostgreSQL 16."""
    async with connect() as connection:
        await save(connection, "app", "first", HISTORY)
        storage = await connection.fetchval(
            "SELECT attstorage FROM pg_attribute "
            "WHERE attrelid = 'app.pgdbm_snapshots'::regclass AND attname = 'listing'"
        )
        assert storage == (b"e" if connection.get_server_version().major >= 16 else b"x")


@pytest.mark.parametrize("touched", [None, Touched(("001_t.sql",), frozenset({"t"}))], ids=["all", "a table"])
async def test_a_snapshot_in_a_transaction_does_not_change_how_it_commits(
    applied: AsyncDatabaseManager, connect: Connect, touched: Touched | None
) -> None:
    async with connect() as connection:
        await connection.execute("SET synchronous_commit = on")
        await save(connection, "app", "first", HISTORY)
        async with connection.transaction():
            await save(connection, "app", "first", HISTORY, touched=touched)
            assert await connection.fetchval("SHOW synchronous_commit") == "on"
        assert await connection.fetchval("SHOW synchronous_commit") == "on"


async def test_modules_that_share_a_schema_share_its_snapshot(applied: AsyncDatabaseManager, connect: Connect) -> None:
    files = {"001_u.sql": "CREATE TABLE {{tables.u}} (id integer)"}
    async with connect() as connection:
        await save(connection, "app", "first", HISTORY)
        second = AsyncMigrationManager(applied, files, "second", migrations_table="other_history", snapshots=False)
        await second.apply_pending_migrations()
        await save(connection, "app", "second", "other_history")
        for table in (HISTORY, "other_history"):
            report = await drift(connection, "app", table)
            assert report.clean, report
            assert report.module == "second"
        await save(connection, "app", "first", HISTORY)
        assert (await drift(connection, "app", "other_history")).clean


async def test_tables_of_pgdbm_are_not_drift(applied: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as connection:
        await save(connection, "app", "first", HISTORY)
        broken = AsyncMigrationManager(applied, {"001_x.sql": "SELECT 1/0"}, "broken", snapshots=False)
        with pytest.raises(Exception, match="division by zero"):
            await broken.apply_pending_migrations()
        assert await connection.fetchval("SELECT to_regclass('app.pgdbm_journal') IS NOT NULL")
        assert (await drift(connection, "app", HISTORY)).clean


async def test_concurrent_snapshots_do_not_conflict(applied: AsyncDatabaseManager, connect: Connect) -> None:
    async def one(number: int) -> str:
        async with connect() as connection:
            return await save(connection, "app", f"module_{number}", HISTORY)

    assert len(set(await asyncio.gather(*(one(number) for number in range(8))))) == 1
    async with connect() as connection:
        assert await connection.fetchval("SELECT count(*) FROM app.pgdbm_snapshots") == 1
        assert (await drift(connection, "app", HISTORY)).clean


async def test_the_newest_snapshot_of_the_schema_wins(applied: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as connection:
        await save(connection, "app", "slow", HISTORY)
        await connection.execute("UPDATE app.pgdbm_snapshots SET taken_at = taken_at + interval '1 hour', module = 'x'")
        before = await connection.fetchrow("TABLE app.pgdbm_snapshots")
        await save(connection, "app", "slow", HISTORY)
        await connection.execute("CREATE TABLE app.late ()")
        await save(connection, "app", "slow", HISTORY)
        assert await connection.fetchrow("TABLE app.pgdbm_snapshots") == before


async def test_a_snapshot_in_a_transaction_is_part_of_it(applied: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as connection, connect() as other:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("CREATE TABLE app.fresh ()")
        assert not (await drift(connection, "app", HISTORY)).clean
        await save(connection, "app", "first", HISTORY)
        assert (await drift(connection, "app", HISTORY)).clean
        await transaction.rollback()
        assert (await drift(other, "app", HISTORY)).since is None
        async with connection.transaction():
            await save(connection, "app", "first", HISTORY)
        assert (await drift(other, "app", HISTORY)).clean


async def test_a_run_interrupted_before_its_snapshot_is_reported(db: AsyncDatabaseManager, connect: Connect) -> None:
    files = {"001_t.sql": "CREATE TABLE {{tables.t}} (id integer)"}
    await AsyncMigrationManager(db, files, "first").apply_pending_migrations()
    files["002_u.sql"] = "CREATE TABLE {{tables.u}} (id integer)"
    await AsyncMigrationManager(db, files, "first", snapshots=False).apply_pending_migrations()
    report = await AsyncMigrationManager(db, files, "first").drift()
    assert {(one.kind, one.name) for one in report.changes if one.object_kind == "table"} == {("added", "u")}
    assert "after the snapshot was taken" in (report.reason or "")
    files["003_v.sql"] = "CREATE TABLE {{tables.v}} (id integer)"
    await AsyncMigrationManager(db, files, "first").apply_pending_migrations()
    await db.execute("DROP TABLE {{tables.v}}")
    report = await AsyncMigrationManager(db, files, "first").drift()
    assert (report.clean, report.reason) == (False, None)


async def test_objects_that_cannot_be_compared_are_reported(applied: AsyncDatabaseManager, connect: Connect) -> None:
    async with connect() as connection:
        await save(connection, "app", "first", HISTORY)
        await connection.execute("CREATE TABLE app.late ()")
        await connection.execute("UPDATE app.pgdbm_snapshots SET server_version = 9")
        upgraded = await drift(connection, "app", HISTORY)
        assert [one.name for one in upgraded.changes] == ["late"]
        assert "PostgreSQL 9" in (upgraded.reason or "")
        await connection.execute("UPDATE app.pgdbm_snapshots SET format = 0, listing = 'what another version wrote'")
        report = await drift(connection, "app", HISTORY)
        assert (report.clean, report.changes) == (False, ())
        assert "a different version of pgdbm" in (report.reason or "")
        await save(connection, "app", "first", HISTORY)
        assert (await drift(connection, "app", HISTORY)).clean


async def test_generated_columns_that_are_not_stored(connect: Connect) -> None:
    async with connect() as connection:
        if connection.get_server_version() < (18,):
            pytest.skip("virtual generated columns came with PostgreSQL 18")
        await connection.execute(f"{SCHEMA} CREATE TABLE app.t (id integer)")
        await save(connection, "app", "first", HISTORY)
        await connection.execute(
            "ALTER TABLE app.t ADD COLUMN twice integer GENERATED ALWAYS AS (id * 2) VIRTUAL,"
            " ADD CONSTRAINT present NOT NULL id NO INHERIT,"
            " ADD CONSTRAINT loose CHECK (id > 0) NOT ENFORCED"
        )
        changes = {one.name: one.after for one in (await drift(connection, "app", HISTORY)).changes}
    assert changes == {
        "t.id": "integer NOT NULL",
        "t.twice": "integer GENERATED ALWAYS AS ((id * 2)) VIRTUAL",
        "t.present": "NOT NULL id NO INHERIT",
        "t.loose": "CHECK ((id > 0)) NOT ENFORCED",
    }


async def test_a_snapshot_survives_the_session(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(f"{SCHEMA} CREATE TABLE app.t (at timestamptz DEFAULT '2026-01-01 00:00+00')")
    await save(connection, "app", "first", HISTORY)
    await connection.close()
    settings = {"TimeZone": "Asia/Tokyo", "DateStyle": "German", "search_path": "app", "quote_all_identifiers": "on"}
    connection = await asyncpg.connect(database, server_settings=settings)
    assert (await drift(connection, "app", HISTORY)).clean
    await connection.close()
