"""Common to all tools: a history is imported once, under the lock, completely or not at all, with clear errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager
from pgdbm.migrations.importers import TOOLS, import_history
from pgdbm.migrations.state.lock import MigrationLock

from .conftest import OURS

if TYPE_CHECKING:
    import asyncpg

    from .conftest import Database

THEIRS = """
CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY);
INSERT INTO schema_migrations VALUES ('001'), ('002'), ('004');
"""
FILES = {
    "001_a.sql": "CREATE TABLE public.a ()",
    "002_b.sql": "CREATE TABLE public.b ()",
    "003_c.sql": "CREATE TABLE public.c ()",
    "005_d.sql": "CREATE TABLE public.d ()",
}


async def test_what_was_applied_is_not_applied_again(target: Database) -> None:
    await target.run(THEIRS)
    await target.run("CREATE TABLE a (); CREATE TABLE b ();")
    report = await target.take("dbmate", FILES)
    assert (report.imported, report.already_applied) == (("001_a.sql", "002_b.sql"), ())
    assert report.unmatched == ("004",)
    assert report.pending == ("003_c.sql", "005_d.sql")
    assert await target.pending(FILES) == ["003_c.sql", "005_d.sql"]
    assert await target.apply(FILES) == ["003_c.sql", "005_d.sql"]
    rows = await target.rows()
    assert list(rows) == list(FILES)
    assert rows["001_a.sql"].checksum == target.manager(FILES).calculate_checksum(FILES["001_a.sql"])
    assert {row.module_name for row in rows.values()} == {"app"}


async def test_a_second_import_writes_nothing(target: Database) -> None:
    await target.run(THEIRS)
    first = await target.take("dbmate", FILES)
    before = await target.rows()
    second = await target.take("dbmate", FILES)
    assert (second.imported, second.already_applied) == ((), first.imported)
    assert await target.rows() == before
    await target.run("INSERT INTO schema_migrations VALUES ('003')")
    third = await target.take("dbmate", FILES)
    assert (third.imported, third.already_applied) == (("003_c.sql",), first.imported)
    assert await target.pending(FILES) == ["005_d.sql"]


async def test_a_dry_run_reports_the_same_and_creates_nothing(target: Database) -> None:
    await target.run(THEIRS)
    report = await target.take("dbmate", FILES, dry_run=True)
    assert not await target.db.table_exists(OURS)
    assert await target.take("dbmate", FILES) == report


async def test_a_history_is_imported_into_another_schema(target: Database, pool: asyncpg.Pool[Any]) -> None:
    await target.run(THEIRS)
    db = AsyncDatabaseManager(pool=pool, schema="fresh")
    report = await import_history(db, "dbmate", FILES, "app", source_schema="public")
    assert report.imported == ("001_a.sql", "002_b.sql")
    assert await db.fetch_value("SELECT count(*) FROM {{tables.schema_migrations}}") == 2


async def test_concurrent_imports_write_each_row_once(target: Database) -> None:
    await target.run(THEIRS)
    reports = await asyncio.gather(*(target.take("dbmate", FILES) for _ in range(6)))
    assert sorted(len(report.imported) for report in reports) == [0, 0, 0, 0, 0, 2]
    assert len(await target.rows()) == 2


async def test_rows_written_by_a_concurrent_runner_are_not_duplicated(target: Database) -> None:
    await target.run(THEIRS)
    key = MigrationLock("public", "app", 0).key
    async with target.db.acquire() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", key)
        task = asyncio.create_task(target.take("dbmate", FILES))
        await target.manager(FILES).ensure_migrations_table()
        await connection.execute(
            f"INSERT INTO public.{OURS} (filename, checksum, module_name) VALUES ('001_a.sql', 'x', 'app')"
        )
        assert not task.done()
        await connection.execute("SELECT pg_advisory_unlock($1)", key)
    assert (await task).imported == ("002_b.sql",)


async def test_rows_are_written_together_or_not_at_all(target: Database) -> None:
    await target.run(THEIRS)
    await target.manager({}).ensure_migrations_table()
    await target.run(f"ALTER TABLE {OURS} ADD CHECK (filename <> '002_b.sql')")
    with pytest.raises(pgdbm.QueryError):
        await target.take("dbmate", FILES)
    assert await target.rows() == {}


async def test_missing_columns_of_the_tool_are_null_and_the_time_is_now(target: Database) -> None:
    await target.run(THEIRS)
    await target.take("dbmate", FILES)
    row = (await target.rows())["001_a.sql"]
    assert (row.applied_by, row.execution_time_ms) == (None, None)
    age = await target.db.fetch_value("SELECT extract(epoch FROM now() - $1::timestamptz)", row.applied_at)
    assert 0 <= age < 60


async def test_a_module_has_its_own_rows(target: Database) -> None:
    await target.run(THEIRS)
    await import_history(target.db, "dbmate", FILES, "other", migrations_table=OURS)
    assert await target.pending(FILES) == list(FILES)
    assert len((await target.take("dbmate", FILES)).imported) == 2


async def test_pending_files_before_newer_ones_are_reported(target: Database) -> None:
    await target.run("CREATE TABLE schema_migrations (version text); INSERT INTO schema_migrations VALUES ('005')")
    report = await target.take("dbmate", FILES)
    assert any(note.startswith("001_a.sql, 002_b.sql, 003_c.sql: pending") for note in report.notes)


class TestRefusals:
    async def test_there_is_no_such_table(self, target: Database) -> None:
        for tool in TOOLS:
            error = await target.refusal(tool, FILES)
            assert (error.reason, error.code) == ("no_history", "import_refused")
            assert "source_schema" in str(error)

    async def test_it_is_in_another_schema(self, target: Database) -> None:
        await target.run("CREATE SCHEMA audit; CREATE TABLE audit.schema_migrations (version text)")
        assert "schema audit" in str(await target.refusal("dbmate", FILES))

    async def test_it_is_a_table_of_something_else(self, target: Database) -> None:
        await target.run("CREATE TABLE something (colour text)")
        for tool in TOOLS:
            error = await target.refusal(tool, FILES, source_schema="public", source_table="something")
            assert error.reason == "no_history"
            assert "it has no column" in str(error)

    async def test_a_history_table_of_the_same_name_is_refused(self, target: Database) -> None:
        await target.run(THEIRS)
        error = await target.refusal("dbmate", FILES, migrations_table="schema_migrations")
        assert error.reason == "table_taken"
        assert "migrations_table='pgdbm_migrations'" in str(error)
        await target.run("ALTER TABLE schema_migrations RENAME TO dbmate_migrations")
        report = await target.take(
            "dbmate", FILES, migrations_table="schema_migrations", source_table="dbmate_migrations"
        )
        assert len(report.imported) == 2

    async def test_an_unknown_tool(self, target: Database) -> None:
        with pytest.raises(pgdbm.ConfigurationError, match="choose one of alembic, dbmate"):
            await target.take("rails", FILES)

    async def test_a_table_that_may_not_be_read(self, target: Database) -> None:
        await target.run(THEIRS + "CREATE ROLE importers_reader; GRANT CREATE ON SCHEMA public TO importers_reader")
        try:
            async with target.db.acquire() as connection:
                await connection.execute("SET SESSION AUTHORIZATION importers_reader")
                single = AsyncDatabaseManager(pool=_OneConnection(connection), schema="public")  # type: ignore[arg-type]
                with pytest.raises(pgdbm.QueryError, match="permission denied"):
                    await import_history(single, "dbmate", FILES, "app", migrations_table=OURS)
                await connection.execute("RESET SESSION AUTHORIZATION")
        finally:
            await target.run("DROP OWNED BY importers_reader; DROP ROLE importers_reader")
        assert not await target.db.table_exists(OURS)


class _OneConnection:
    """A pool of one connection, for what is set on its session."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def acquire(self) -> Any:
        return self._connection

    async def release(self, connection: Any) -> None:
        assert connection is self._connection
