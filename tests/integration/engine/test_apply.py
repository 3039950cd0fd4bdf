"""Applying valid and invalid files, on a real server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

A = "CREATE TABLE {{tables.a}} (id int PRIMARY KEY);"


def manager(db: AsyncDatabaseManager, files: Mapping[str, str], **options: Any) -> AsyncMigrationManager:
    return AsyncMigrationManager(db, files, "m", **options)


async def apply(db: AsyncDatabaseManager, files: Mapping[str, str], **options: Any) -> dict[str, Any]:
    return await manager(db, files, **options).apply_pending_migrations()


async def failure_of(db: AsyncDatabaseManager, files: Mapping[str, str], **options: Any) -> Any:
    with pytest.raises(pgdbm.MigrationError) as caught:
        await apply(db, files, **options)
    return caught.value


async def history(db: AsyncDatabaseManager) -> list[str]:
    if not await db.table_exists("schema_migrations"):
        return []
    rows = await db.fetch_all("SELECT filename FROM {{tables.schema_migrations}} ORDER BY id")
    return [row["filename"] for row in rows]


class TestResults:
    async def test_success_then_up_to_date(self, db: AsyncDatabaseManager) -> None:
        files = {"10_b.sql": "INSERT INTO {{tables.a}} VALUES (1)", "9_a.sql": A}
        first = await apply(db, files)
        assert first["status"] == "success"
        assert [one["filename"] for one in first["applied"]] == ["9_a.sql", "10_b.sql"]
        assert all(one["execution_time_ms"] >= 0 for one in first["applied"])
        assert (first["skipped"], first["total"]) == ([], 2)
        assert first["total_time_ms"] > 0
        second = await apply(db, files)
        assert second["status"] == "up_to_date"
        assert (second["applied"], second["skipped"], second["total"]) == ([], ["9_a.sql", "10_b.sql"], 2)

    async def test_a_dry_run_names_what_is_pending_and_creates_nothing(self, db: AsyncDatabaseManager) -> None:
        result = await manager(db, {"1_a.sql": A}).apply_pending_migrations(dry_run=True)
        assert result == {"status": "dry_run", "applied": [], "skipped": [], "total": 1, "pending": ["1_a.sql"]}
        assert not await db.fetch_value("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'app')")

    async def test_a_dry_run_parses(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(pgdbm.MigrationFileError):
            await manager(db, {"1_a.sql": "selec 1"}).apply_pending_migrations(dry_run=True)

    async def test_no_files_is_up_to_date_and_touches_nothing(self, db: AsyncDatabaseManager) -> None:
        assert (await apply(db, {}))["status"] == "up_to_date"
        assert not await db.fetch_value("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'app')")

    async def test_the_recorded_time_is_that_of_the_migration(self, db: AsyncDatabaseManager) -> None:
        result = await apply(db, {"1_a.sql": A, "2_slow.sql": "SELECT pg_sleep(0.2)", "3_c.sql": "SELECT 1"})
        times = [one["execution_time_ms"] for one in result["applied"]]
        assert times[1] >= 200
        assert times[1] > times[0] + times[2]

    async def test_more_files_than_fit_into_one_message(self, db: AsyncDatabaseManager) -> None:
        files = {f"{n}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int) -- {'x' * 5000}" for n in range(1, 200)}
        result = await apply(db, files)
        assert [one["filename"] for one in result["applied"]] == list(files)
        assert await history(db) == list(files)

    async def test_apply_one_migration(self, db: AsyncDatabaseManager) -> None:
        migrations = manager(db, {"1_a.sql": A, "2_b.sql": "SELECT 1"})
        first, second = await migrations.get_pending_migrations()
        assert await migrations.apply_migration(second) >= 0
        assert await history(db) == ["2_b.sql"]
        assert [one.filename for one in await migrations.get_pending_migrations()] == ["1_a.sql"]
        assert await migrations.apply_migration(second) == 0
        await migrations.apply_migration(first)
        applied = await migrations.get_applied_migrations()
        assert applied["1_a.sql"].is_applied
        assert applied["1_a.sql"].content == A


class TestFailures:
    """The failing statement is named, earlier files stay applied, and the failing file leaves nothing behind."""

    @pytest.mark.parametrize(
        ("sql", "statement", "line", "column", "sqlstate"),
        [
            ("CREATE TABLE {{tables.b}} ();\n\n-- again\nCREATE TABLE {{tables.a}} ();", 2, 4, 1, "42P07"),
            ("CREATE TABLE {{tables.b}} ();\n  INSERT INTO {{tables.a}} (id, no) VALUES (1, 2);", 2, 2, 33, "42703"),
            ("SELECT 1;\n\tSELECT 1/0", 2, 2, 2, "22012"),
            ("CREATE TABLE {{tables.b}} (x {{tables.missing}});", 1, 1, 30, "42704"),
            ("INSERT INTO {{tables.a}} VALUES (1);\nINSERT INTO {{tables.a}} VALUES (1)", 2, 2, 1, "23505"),
            ("/* é */ SELECT 'ü';\n/* → */ SELECT nope", 2, 2, 16, "42703"),
            ("DO $$\nBEGIN\n  RAISE EXCEPTION 'stop' USING ERRCODE = 'XX123';\nEND $$", 1, 3, 3, "XX123"),
        ],
    )
    async def test_the_statement_is_named(
        self, db: AsyncDatabaseManager, sql: str, statement: int, line: int, column: int, sqlstate: str
    ) -> None:
        error = await failure_of(db, {"1_a.sql": A, "2_bad.sql": sql, "3_c.sql": "CREATE TABLE {{tables.c}} ()"})
        assert isinstance(error, pgdbm.MigrationExecutionError)
        assert error.migration_file == "2_bad.sql"
        assert (error.statement, error.line, error.column, error.sqlstate) == (statement, line, column, sqlstate)
        assert str(error).startswith(f"2_bad.sql:{line}:{column}: statement {statement}: {error.sql_error}")
        assert [one["filename"] for one in error.applied] == ["1_a.sql"]
        assert await history(db) == ["1_a.sql"]
        assert not await db.table_exists("b")
        assert not await db.table_exists("c")

    async def test_the_hint_and_the_detail_of_the_server_are_reported(self, db: AsyncDatabaseManager) -> None:
        error = await failure_of(
            db,
            {"1.sql": "DO $$BEGIN RAISE EXCEPTION 'no' USING HINT = 'Set a key.', DETAIL = 'Row 7'; END$$"},
        )
        assert (error.sql_error, error.hint, error.detail) == ("no", "Set a key.", "Row 7")
        assert str(error).endswith("\nHint: Set a key.")
        assert "Set a key." not in error.message

    async def test_the_fixed_file_is_applied_next_time(self, db: AsyncDatabaseManager) -> None:
        await failure_of(db, {"1_a.sql": A, "2_b.sql": "CREATE TABLE {{tables.a}} ()"})
        result = await apply(db, {"1_a.sql": A, "2_b.sql": "CREATE TABLE {{tables.b}} ()"})
        assert [one["filename"] for one in result["applied"]] == ["2_b.sql"]

    async def test_a_failure_in_a_script_of_many_files_is_located(self, db: AsyncDatabaseManager) -> None:
        files = {f"{n:02}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int)" for n in range(1, 41)}
        files["17.sql"] += ";\nCREATE TABLE {{tables.t3}} (id int)"
        error = await failure_of(db, files)
        assert (error.migration_file, error.statement, error.line) == ("17.sql", 2, 2)
        assert await history(db) == [f"{n:02}.sql" for n in range(1, 17)]
        assert len(error.applied) == 16

    async def test_a_deferred_constraint_fails_at_commit(self, db: AsyncDatabaseManager) -> None:
        error = await failure_of(
            db,
            {
                "1_a.sql": A,
                "2_b.sql": "CREATE TABLE {{tables.b}} (a int REFERENCES {{tables.a}} DEFERRABLE INITIALLY DEFERRED);"
                "INSERT INTO {{tables.b}} VALUES (7)",
            },
        )
        assert error.sqlstate == "23503"
        assert "COMMIT" in str(error)
        assert await history(db) == ["1_a.sql"]

    async def test_a_statement_that_waits_too_long_for_a_lock(self, db: AsyncDatabaseManager) -> None:
        await apply(db, {"1_a.sql": A})
        async with db.transaction() as tx:
            await tx.execute("LOCK TABLE {{tables.a}}")
            error = await failure_of(
                db,
                {"1_a.sql": A, "2.sql": "SELECT 1;\nALTER TABLE {{tables.a}} ADD b int"},
                lock_timeout=0.1,
                retry_for=0,
            )
        assert (error.sqlstate, error.statement) == ("55P03", 2)

    async def test_a_no_transaction_failure_names_the_finished_statements(self, db: AsyncDatabaseManager) -> None:
        error = await failure_of(
            db, {"1.sql": "-- pgdbm:no-transaction\nCREATE TABLE {{tables.b}} ();\nSELECT 1/0;\nSELECT 2"}
        )
        assert (error.statement, error.line, error.transactional) == (2, 3, False)
        assert "remain applied" in str(error)
        assert await db.table_exists("b")
        assert await history(db) == []


class TestRefusedFiles:
    """Found before anything runs."""

    @pytest.mark.parametrize(
        ("sql", "line", "column", "says"),
        [
            ("SELECT 1;\n  selec 2", 2, 3, "syntax error"),
            ("SELECT {{tables.a}};\nSELECT {{table.a}}", 2, 8, "{{tables.name}}"),
            ("SELECT {{tables.a b}}", 1, 8, "Invalid table name"),
            ("SELECT 1, {{tables.1a}}", 1, 11, "Invalid table name"),
            ("SELECT 1;\nCREATE INDEX CONCURRENTLY ON {{tables.a}} (id)", 2, 1, "-- pgdbm:no-transaction"),
            ("DROP INDEX CONCURRENTLY {{tables.x}}", 1, 1, "no-transaction"),
            ("REINDEX TABLE CONCURRENTLY {{tables.x}}", 1, 1, "no-transaction"),
            ("VACUUM {{tables.x}}", 1, 1, "no-transaction"),
            ("ALTER SYSTEM SET work_mem = '1MB'", 1, 1, "no-transaction"),
            ("CREATE DATABASE x", 1, 1, "no-transaction"),
            ("ALTER TABLE {{tables.p}} DETACH PARTITION {{tables.q}} CONCURRENTLY", 1, 1, "no-transaction"),
            ("SELECT 1;\nBEGIN;\nSELECT 2;\nROLLBACK", 2, 1, "transaction control"),
            ("ROLLBACK", 1, 1, "transaction control"),
            ("COPY {{tables.a}} FROM STDIN", 1, 1, "COPY"),
            ("SELECT 1;\n\\i other.sql", 2, 1, "psql"),
        ],
    )
    async def test_an_invalid_file_is_refused_with_line_column_and_remedy(
        self, db: AsyncDatabaseManager, sql: str, line: int, column: int, says: str
    ) -> None:
        error = await failure_of(db, {"1_a.sql": A, "2_bad.sql": sql})
        assert isinstance(error, pgdbm.MigrationFileError)
        assert (error.migration_file, error.line, error.column) == ("2_bad.sql", line, column)
        assert str(error).startswith(f"2_bad.sql:{line}:{column}: ")
        assert says in str(error)
        assert await history(db) == []

    async def test_a_changed_file(self, db: AsyncDatabaseManager) -> None:
        await apply(db, {"1_a.sql": A})
        error = await failure_of(db, {"1_a.sql": A + " ", "2_b.sql": "SELECT 1"} | {"1_a.sql": A + "\n-- more"})
        assert isinstance(error, pgdbm.ChecksumMismatchError)
        assert error.recorded in str(error)
        assert error.current in str(error)
        assert "has been modified after being applied" in str(error)
        assert await history(db) == ["1_a.sql"]

    async def test_white_space_and_line_ends_are_not_a_change(self, db: AsyncDatabaseManager) -> None:
        await apply(db, {"1_a.sql": A + "\n-- x\n"})
        assert (await apply(db, {"1_a.sql": "\n" + A + "\r\n-- x\r\n\r\n"}))["status"] == "up_to_date"

    async def test_out_of_order(self, db: AsyncDatabaseManager) -> None:
        await apply(db, {"2_a.sql": A})
        files = {"1_early.sql": "SELECT 1", "2_a.sql": A}
        error = await failure_of(db, files, out_of_order="reject")
        assert isinstance(error, pgdbm.OutOfOrderError)
        assert (error.migration_file, error.newest_applied) == ("1_early.sql", "2_a.sql")
        assert (await apply(db, files))["status"] == "success"


class TestSessions:
    async def test_timeouts_of_the_pool_do_not_bind_migrations(self, database: str) -> None:
        config = DatabaseConfig(
            connection_string=database,
            min_connections=1,
            max_connections=2,
            command_timeout=1.0,
            statement_timeout_ms=1000,
            idle_in_transaction_session_timeout_ms=1000,
        )
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        try:
            slow = AsyncDatabaseManager(pool=pool, schema="slow")
            assert (await apply(slow, {"1.sql": "SELECT pg_sleep(1.5)"}))["status"] == "success"
            no_transaction = {"1.sql": "SELECT 1", "2.sql": "-- pgdbm:no-transaction\nSELECT pg_sleep(1.5)"}
            other = AsyncDatabaseManager(pool=pool, schema="other")
            assert (await apply(other, no_transaction))["status"] == "success"
            # Ordinary queries have their timeouts again.
            with pytest.raises((pgdbm.QueryError, TimeoutError)):
                await other.fetch_value("SELECT pg_sleep(1.5)")
        finally:
            await pool.close()

    async def test_settings_of_one_file_do_not_reach_the_next(self, db: AsyncDatabaseManager) -> None:
        files = {
            "1_a.sql": A,
            "2_set.sql": "SET search_path = app; SET work_mem = '77MB'; CREATE TABLE unqualified ();",
            "3_config.sql": "SELECT set_config('search_path', 'app', false)",
            "4_seen.sql": "CREATE TABLE {{tables.seen}} AS SELECT current_setting('search_path') AS path, "
            "current_setting('work_mem') AS memory",
        }
        await apply(db, files)
        assert await db.table_exists("unqualified")
        row = await db.fetch_one("SELECT path, memory FROM {{tables.seen}}")
        assert row is not None
        assert row["path"] == "app, public"
        assert row["memory"] != "77MB"

    async def test_a_reset_inside_a_file_does_not_change_the_engine_s_settings(self, db: AsyncDatabaseManager) -> None:
        result = await apply(db, {"1.sql": "RESET ALL; SET datestyle = 'German, DMY'; SELECT 1", "2.sql": A})
        assert len(result["applied"]) == 2

    async def test_a_file_that_resets_settings_has_its_time(self, db: AsyncDatabaseManager) -> None:
        result = await apply(db, {"1.sql": A, "2.sql": "SELECT pg_sleep(0.3); RESET ALL; SELECT pg_sleep(0.1)"})
        assert result["applied"][1]["execution_time_ms"] >= 400

    async def test_a_comment_is_not_a_statement(self, db: AsyncDatabaseManager) -> None:
        files = {
            "1.sql": "-- only a comment",
            "2.sql": "-- pgdbm:no-transaction\nSELECT 1; -- and the rest\n/* is /* nested */ */",
            "3.sql": A + " -- without an end of line",
        }
        assert len((await apply(db, files))["applied"]) == 3

    async def test_the_directive_must_stand_alone(self, db: AsyncDatabaseManager) -> None:
        for text in ("-- pgdbm:no-transactions\n", " -- pgdbm:no-transaction\n", "--pgdbm:no-transaction\n"):
            assert isinstance(await failure_of(db, {"1.sql": text + "VACUUM"}), pgdbm.MigrationFileError)
        assert (await apply(db, {"1.sql": "-- why\n-- pgdbm:no-transaction\nVACUUM"}))["status"] == "success"

    async def test_quotes_and_backslashes_in_names(self, db: AsyncDatabaseManager) -> None:
        name = '1_o\'brien\\n"x".sql'
        assert (await apply(db, {name: A}))["status"] == "success"
        assert await history(db) == [name]


class TestHistory:
    async def test_a_table_that_version_0_5_0_made_is_taken_over(self, db: AsyncDatabaseManager) -> None:
        await db.execute("CREATE SCHEMA app")
        await db.execute(
            "CREATE TABLE {{tables.schema_migrations}} (id serial PRIMARY KEY, filename varchar(255) NOT NULL,"
            " checksum varchar(64) NOT NULL, module_name varchar(100), applied_at timestamp NOT NULL DEFAULT"
            " CURRENT_TIMESTAMP, applied_by varchar(100) DEFAULT CURRENT_USER, execution_time_ms integer,"
            " UNIQUE (filename, module_name))"
        )
        migrations = manager(db, {"1_a.sql": A, "2_b.sql": "SELECT 1", "3_c.sql": "SELECT 1"})
        insert = "INSERT INTO {{tables.schema_migrations}} (filename, checksum, module_name) VALUES ($1, $2, $3)"
        await db.execute(insert, "1_a.sql", migrations.calculate_checksum(A), "m")
        await db.execute(insert, "2_b.sql", migrations.calculate_checksum("SELECT 1"), None)
        await db.execute(insert, "3_c.sql", "another module's", "other")
        result = await migrations.apply_pending_migrations()
        assert result["skipped"] == ["1_a.sql", "2_b.sql"]
        assert [one["filename"] for one in result["applied"]] == ["3_c.sql"]

    async def test_the_history_newest_first_and_by_pages(self, db: AsyncDatabaseManager) -> None:
        migrations = manager(db, {f"{n}.sql": "SELECT 1" for n in range(1, 6)})
        await migrations.apply_pending_migrations()
        newest = await migrations.get_migration_history(limit=2)
        assert [row["filename"] for row in newest] == ["5.sql", "4.sql"]
        assert set(newest[0]) == {"filename", "module_name", "applied_at", "applied_by", "execution_time_ms"}
        page = await migrations.history(limit=3)
        rest = await migrations.history(limit=3, before=page[-1].id)
        assert [row.filename for row in page + rest] == ["5.sql", "4.sql", "3.sql", "2.sql", "1.sql"]
        assert page[0].applied_at.tzinfo is not None

    async def test_states(self, db: AsyncDatabaseManager) -> None:
        await apply(db, {"1_a.sql": A, "3_gone.sql": "SELECT 3", "4_d.sql": "SELECT 4"})
        files = {"1_a.sql": A + "--", "2_early.sql": "SELECT 2", "4_d.sql": "SELECT 4", "5_new.sql": "SELECT 5"}
        status = await manager(db, files, out_of_order="reject").status()
        assert [(one.filename, one.state) for one in status.migrations] == [
            ("1_a.sql", "changed"),
            ("2_early.sql", "out_of_order"),
            ("3_gone.sql", "missing"),
            ("4_d.sql", "applied"),
            ("5_new.sql", "pending"),
        ]
        assert (status.state, status.version) == ("changed", "4")

    async def test_a_history_row_can_be_deleted(self, db: AsyncDatabaseManager) -> None:
        migrations = manager(db, {"1.sql": "SELECT 1"})
        await migrations.apply_pending_migrations()
        await migrations.rollback_migration("1.sql")
        assert await history(db) == []
        with pytest.raises(pgdbm.MigrationError, match="not in the history"):
            await migrations.rollback_migration("1.sql")

    async def test_two_modules_in_one_schema(self, db: AsyncDatabaseManager) -> None:
        one = AsyncMigrationManager(db, {"1.sql": A}, "one")
        two = AsyncMigrationManager(db, {"1.sql": "SELECT 1"}, "two")
        await one.apply_pending_migrations()
        assert (await two.apply_pending_migrations())["status"] == "success"

    async def test_the_database_manager_without_a_schema_uses_public(self, database: str) -> None:
        config = DatabaseConfig(connection_string=database, min_connections=1)
        async with AsyncDatabaseManager(config) as db:
            await AsyncMigrationManager(db, {"1.sql": A}, "m").apply_pending_migrations()
            assert await db.fetch_value("SELECT count(*) FROM public.schema_migrations") == 1
            assert await db.fetch_value("SELECT count(*) FROM public.a") == 0


class TestArguments:
    async def test_schema_belongs_to_the_database_manager(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(TypeError, match=r"schema of the database manager"):
            AsyncMigrationManager(db, ".", "m", schema="x")
        with pytest.raises(TypeError, match="colour"):
            AsyncMigrationManager(db, ".", "m", colour="x")

    async def test_a_missing_module_name_warns(
        self, db: AsyncDatabaseManager, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "pgdbm"):
            assert AsyncMigrationManager(db, ".").module_name == "app"
        assert "module_name" in caplog.text
        public = AsyncDatabaseManager(pool=db.pool)
        assert AsyncMigrationManager(public, ".").module_name == "default"

    @pytest.mark.parametrize(
        "options",
        [{"out_of_order": "maybe"}, {"lock_wait_timeout": -1}, {"lock_timeout": -1}, {"module_name": "x" * 101}],
    )
    async def test_invalid_options_are_refused(self, db: AsyncDatabaseManager, options: dict[str, Any]) -> None:
        with pytest.raises(pgdbm.ConfigurationError):
            AsyncMigrationManager(db, ".", **({"module_name": "m"} | options))

    async def test_create_migration(self, db: AsyncDatabaseManager, tmp_path: Path) -> None:
        migrations = AsyncMigrationManager(db, tmp_path / "new", "m")
        path = await migrations.create_migration("Add Users!", "SELECT 1;", auto_transaction=False)
        assert path.endswith("_add_users.sql")
        assert next((tmp_path / "new").iterdir()).read_text() == "SELECT 1;"
        assert (await migrations.apply_pending_migrations())["status"] == "success"
        with pytest.raises(pgdbm.MigrationError):
            await migrations.create_migration("!!!", "SELECT 1")


class TestRoles:
    async def test_a_role_that_a_file_sets_ends_with_it(self, db: AsyncDatabaseManager) -> None:
        await db.execute("DROP ROLE IF EXISTS test_guest")
        await db.execute("CREATE ROLE test_guest")
        files = {"1.sql": A + " SET ROLE test_guest; RESET ROLE; SET SESSION AUTHORIZATION test_guest; RESET ROLE;"}
        files["2.sql"] = "-- pgdbm:no-transaction\nANALYZE; SET ROLE test_guest"
        await apply(db, files)
        for _ in range(5):
            assert await db.fetch_value("SELECT current_user = session_user AND current_user <> 'test_guest'")
        await db.execute("DROP ROLE test_guest")
