"""The server has no disk space left: for a file, for its history row, for the journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig
from pgdbm.errors import AsyncDBError, MigrationExecutionError, MigrationUnknownError
from tests.support.small_disk import small_disk

from .applying import apply

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = {"001_t.sql": "CREATE TABLE {{tables.t}} (i integer, x text)"}
MANY_ROWS = "INSERT INTO {{tables.t}} SELECT i, repeat('x', 500) FROM generate_series(1, 40000) i"
# With this file the journal is there.
JOURNAL = {"000_z.sql": "-- pgdbm:no-transaction\nSELECT 1", **TABLE}
OUTSIDE = {
    **JOURNAL,
    "002_p.sql": "CREATE PROCEDURE {{tables.p}}() LANGUAGE plpgsql AS "
    "$$ BEGIN INSERT INTO app.t VALUES (1); COMMIT; END $$",
    "003_call.sql": "-- pgdbm:no-transaction\nSELECT 1;\nCALL {{tables.p}}();\n",
}
# A full disk, as the server reports it, where ``{condition}`` holds for a new row of the table.
FULL = """
CREATE FUNCTION app.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF {condition} THEN RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION app.refuse();
"""
FREE = "DROP FUNCTION app.refuse CASCADE"


@pytest.mark.parametrize(
    "content",
    [MANY_ROWS, f"-- pgdbm:no-transaction\nSELECT 1;\n{MANY_ROWS};", "CREATE TABLE {{tables.u}} (x text)"],
)
def test_a_file_that_needs_more_space_than_there_is(postgres_dsn: str, content: str) -> None:
    async def work(dsn: str, fill: Callable[[], None], free: Callable[[], None]) -> None:
        config = DatabaseConfig(connection_string=dsn, schema="app", min_connections=1, max_connections=2)
        async with AsyncDatabaseManager(config) as db:
            await AsyncMigrationManager(db, TABLE, "app").apply_pending_migrations()
            fill()
            files = AsyncMigrationManager(db, {**TABLE, "002_more.sql": content}, "app")
            with pytest.raises(MigrationExecutionError) as failed:
                await files.apply_pending_migrations()
            assert (failed.value.migration_file, failed.value.sqlstate) == ("002_more.sql", "53100")
            assert "Free space" in str(failed.value)
            free()
            result = await files.apply_pending_migrations()
            assert [one["filename"] for one in result["applied"]] == ["002_more.sql"]
            assert await db.fetch_value("SELECT count(*) FROM app.t") in (0, 40000)

    with small_disk(postgres_dsn, megabytes=48) as disk:
        asyncio.run(work(disk.dsn, disk.fill, disk.free))


def test_a_schema_that_cannot_be_created(postgres_dsn: str) -> None:
    async def work(dsn: str, fill: Callable[[], None], free: Callable[[], None]) -> None:
        config = DatabaseConfig(connection_string=dsn, min_connections=1, max_connections=2)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        files = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), TABLE, "app")
        fill()
        with pytest.raises(AsyncDBError, match="No space left on device"):
            await files.apply_pending_migrations()
        free()
        assert (await files.apply_pending_migrations())["status"] == "success"
        await pool.close()

    with small_disk(postgres_dsn) as disk:
        asyncio.run(work(disk.dsn, disk.fill, disk.free))


async def test_no_space_for_the_history_row(db: AsyncDatabaseManager, connect: Callable[..., Any]) -> None:
    await apply(db, TABLE)
    files = {**TABLE, "002_a.sql": "CREATE TABLE {{tables.a}} (i integer)"}
    async with connect() as connection:
        await connection.execute(FULL.format(table="app.schema_migrations", condition="true"))
        with pytest.raises(MigrationExecutionError, match=r"002_a[.]sql.*53100") as failed:
            await apply(db, files)
        assert "inserted the history row" in str(failed.value)
        assert await connection.fetchval("SELECT to_regclass('app.a')") is None
        await connection.execute(FREE)
    assert (await apply(db, files))["status"] == "success"


async def test_no_space_for_the_start_of_a_statement(db: AsyncDatabaseManager, connect: Callable[..., Any]) -> None:
    await apply(db, JOURNAL)
    async with connect() as connection:
        await connection.execute(FULL.format(table="app.pgdbm_journal", condition="NEW.event = 'started'"))
        with pytest.raises(MigrationExecutionError, match=r"003_call[.]sql.*53100") as failed:
            await apply(db, OUTSIDE)
        assert "journal" in str(failed.value)
        assert "Free space" in str(failed.value)
        assert await connection.fetchval("SELECT count(*) FROM app.t") == 0
        await connection.execute(FREE)
        await apply(db, OUTSIDE)
        assert await connection.fetchval("SELECT count(*) FROM app.t") == 1


async def test_no_space_to_record_what_took_effect(db: AsyncDatabaseManager, connect: Callable[..., Any]) -> None:
    """It did take effect: recorded as failed, the next run would run it a second time."""
    await apply(db, JOURNAL)
    async with connect() as connection:
        refused = "NEW.event = 'applied' AND NEW.statement = 2"
        await connection.execute(FULL.format(table="app.pgdbm_journal", condition=refused))
        with pytest.raises(MigrationExecutionError, match=r"Statement 2 took effect.*\n?.*done=True") as failed:
            await apply(db, OUTSIDE)
        assert failed.value.migration_file == "003_call.sql"
        await connection.execute(FREE)
        with pytest.raises(MigrationUnknownError):
            await apply(db, OUTSIDE)
        await AsyncMigrationManager(db, OUTSIDE, "m").resolve_statement("003_call.sql", 2, done=True)
        await apply(db, OUTSIDE)
        assert await connection.fetchval("SELECT count(*) FROM app.t") == 1


async def test_no_space_to_record_a_failure(db: AsyncDatabaseManager, connect: Callable[..., Any]) -> None:
    files = {**JOURNAL, "002_z.sql": "-- pgdbm:no-transaction\nSELECT 1;\nSELECT 1 / 0;"}
    await apply(db, JOURNAL)
    async with connect() as connection:
        await connection.execute(FULL.format(table="app.pgdbm_journal", condition="NEW.event = 'failed'"))
        with pytest.raises(MigrationExecutionError, match="division by zero"):
            await apply(db, files)


async def test_no_space_at_the_end_of_a_file(db: AsyncDatabaseManager, connect: Callable[..., Any]) -> None:
    await apply(db, JOURNAL)
    async with connect() as connection:
        await connection.execute(FULL.format(table="app.pgdbm_journal", condition="NEW.event = 'finished'"))
        with pytest.raises(MigrationExecutionError, match=r"003_call[.]sql.*53100") as failed:
            await apply(db, OUTSIDE)
        assert "do not run again" in str(failed.value)
        await connection.execute(FREE)
        await apply(db, OUTSIDE)
        assert await connection.fetchval("SELECT count(*) FROM app.t") == 1


async def test_a_limit_of_temporary_files(db: AsyncDatabaseManager) -> None:
    sorts = "SET LOCAL work_mem = '64kB';\nSET LOCAL temp_file_limit = '100kB';\n"
    sorts += "SELECT i FROM generate_series(1, 200000) i ORDER BY i DESC"
    with pytest.raises(MigrationExecutionError, match="ALTER ROLE") as failed:
        await apply(db, {"001_sort.sql": sorts})
    assert (failed.value.statement, failed.value.sqlstate) == (3, "53400")
