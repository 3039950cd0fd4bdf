"""Messages for people: notices, positions and hints of errors, in limited size."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig, MigrationExecutionError, QueryError

from .applying import apply, failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NO_TRANSACTION = "-- pgdbm:no-transaction\n"
NOTICES = {
    "1.sql": "CREATE TABLE IF NOT EXISTS t (id int);\n"
    "DO $$ BEGIN RAISE NOTICE 'backfilled % rows', 42; RAISE WARNING 'three rows had no owner'; END $$;",
    "2.sql": "CREATE TABLE IF NOT EXISTS t (id int);\nDROP TABLE IF EXISTS nothing;",
    "3.sql": "DROP TABLE IF EXISTS nothing_else;",
}


@pytest.fixture
async def db(database: str) -> AsyncIterator[AsyncDatabaseManager]:
    config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=3)
    manager = AsyncDatabaseManager(config)
    await manager.connect()
    yield manager
    await manager.close()


class TestNotices:
    @pytest.mark.parametrize("listens", [False, True])
    async def test_notices_and_warnings_are_in_the_result(self, db: AsyncDatabaseManager, listens: bool) -> None:
        events: list[Any] = []
        notices: list[Any] = []
        options: dict[str, Any] = {"on_event": events.append} if listens else {}
        result = await apply(db, NOTICES, on_notice=notices.append, **options)
        found = [(one["filename"], one["severity"], one["message"]) for one in result["notices"]]
        assert found == [
            ("1.sql", "NOTICE", "backfilled 42 rows"),
            ("1.sql", "WARNING", "three rows had no owner"),
            ("2.sql", "NOTICE", 'relation "t" already exists, skipping'),
            ("2.sql", "NOTICE", 'table "nothing" does not exist, skipping'),
            ("3.sql", "NOTICE", 'table "nothing_else" does not exist, skipping'),
        ]
        assert [one.message for one in notices] == [message for _, _, message in found]
        received = [event.details["message"] for event in events if event.kind == "notice"]
        assert received == ([message for _, _, message in found] if listens else [])

    async def test_without_a_transaction_and_before_a_failure(self, db: AsyncDatabaseManager) -> None:
        notices: list[Any] = []
        files = {"1.sql": f"{NO_TRANSACTION}DROP TABLE IF EXISTS nothing;\nSELECT 1/0;"}
        await failure(db, files, on_notice=notices.append)
        assert [one.filename for one in notices] == ["1.sql"]

    async def test_all_in_one_transaction(self, db: AsyncDatabaseManager) -> None:
        files = {f"{n}.sql": f"DROP TABLE IF EXISTS nothing_{n};" for n in range(1, 4)}
        result = await AsyncMigrationManager(db, files, "m").apply_pending_migrations(atomic="all")
        assert [(one["filename"], one["message"].split('"')[1]) for one in result["notices"]] == [
            (f"{n}.sql", f"nothing_{n}") for n in range(1, 4)
        ]

    async def test_the_first_of_many_notices_are_kept(self, db: AsyncDatabaseManager) -> None:
        files = {"1.sql": "DO $$ BEGIN FOR i IN 1..5000 LOOP RAISE NOTICE 'row %', i; END LOOP; END $$;"}
        result = await apply(db, files)
        assert (len(result["notices"]), result["omitted_notices"]) == (100, 4900)

    @pytest.mark.parametrize("severity", ["NOTICE", "INFO", "EXCEPTION"])
    async def test_a_huge_notice_blocks_nothing(self, db: AsyncDatabaseManager, severity: str) -> None:
        slowest = 0.0

        async def tick() -> None:
            nonlocal slowest
            while True:
                started = time.perf_counter()
                await asyncio.sleep(0.01)
                slowest = max(slowest, time.perf_counter() - started)

        ticker = asyncio.create_task(tick())
        files = {"1.sql": f"DO $$ BEGIN RAISE {severity} '%', repeat('xä', 40000000); END $$;"}
        if severity == "EXCEPTION":
            error = await failure(db, files)
            assert error.sql_error is not None
            assert len(str(error)) < 10_000
            assert error.sql_error.startswith("xä")
            assert "more" in error.sql_error
            assert await db.fetch_value("SELECT length(message) FROM app.pgdbm_journal") < 5_000
        else:
            notice = (await apply(db, files))["notices"][0]
            assert len(notice["message"]) < 1_100
            assert notice["message"].endswith(" more bytes)")
        ticker.cancel()
        assert slowest < 1

    async def test_detail_and_hint_are_bounded(self, db: AsyncDatabaseManager) -> None:
        raised = "RAISE EXCEPTION 'x' USING DETAIL = repeat('d', 1000000), HINT = repeat('h', 1000000)"
        error = await failure(db, {"1.sql": f"DO $$ BEGIN {raised}; END $$;"})
        assert len(str(error)) < 20_000
        assert len(error.detail or "") < 5_000


class TestPlaces:
    async def test_the_line_in_a_do_block(self, db: AsyncDatabaseManager) -> None:
        text = "CREATE TABLE t (id int);\n\nDO $$\nBEGIN\n  PERFORM 1;\n  PERFORM 1/0;\nEND $$;"
        for files in ({"1.sql": text}, {"1.sql": NO_TRANSACTION + text}):
            error = await failure(db, files)
            offset = 1 if files["1.sql"].startswith("--") else 0
            assert (error.line, error.column, error.statement) == (6 + offset, 3, 2)

    async def test_the_text_that_was_executed(self, db: AsyncDatabaseManager) -> None:
        error = await failure(db, {"1.sql": "DO $$\nBEGIN\n  EXECUTE 'CREATE TABEL x ()';\nEND $$;"})
        assert "Query: CREATE TABEL x ()" in str(error)
        assert error.line == 3

    async def test_the_line_of_the_block_that_calls_a_function(self, db: AsyncDatabaseManager) -> None:
        files = {
            "1.sql": "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\n\n\nBEGIN\n RETURN 1/0;\nEND $$;",
            "2.sql": "DO $do$ BEGIN\n  PERFORM f();\nEND $do$;",
        }
        assert (await failure(db, files)).line == 2

    @pytest.mark.parametrize("listens", [False, True])
    async def test_a_deferred_constraint_names_its_file(self, db: AsyncDatabaseManager, listens: bool) -> None:
        files = {
            "1.sql": "CREATE TABLE p (id int PRIMARY KEY);\n"
            "CREATE TABLE c (id int, p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);",
            "2_bad.sql": "INSERT INTO p VALUES (1);\nINSERT INTO c VALUES (1, 7);",
            "3.sql": "CREATE TABLE y ();",
            "4.sql": "CREATE TABLE z ();",
        }
        options: dict[str, Any] = {"on_event": lambda _: None} if listens else {}
        migrations = AsyncMigrationManager(db, files, "m", **options)
        for atomic in ("all", "file"):
            with pytest.raises(pgdbm.MigrationExecutionError, match="deferred constraints") as caught:
                await migrations.apply_pending_migrations(atomic=atomic)
            assert caught.value.migration_file == "2_bad.sql"
            assert "4.sql" not in str(caught.value)

    async def test_constraints_stay_deferred_for_the_files_that_follow(self, db: AsyncDatabaseManager) -> None:
        files = {
            "1.sql": "CREATE TABLE p (id int PRIMARY KEY);\n"
            "CREATE TABLE c (id int, p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);",
            "2.sql": "INSERT INTO c VALUES (1, 7); INSERT INTO p VALUES (7);",
            "3.sql": "INSERT INTO c VALUES (1, 8); INSERT INTO p SELECT 8;",
        }
        await AsyncMigrationManager(db, files, "m").apply_pending_migrations(atomic="all")
        assert await db.fetch_value("SELECT count(*) FROM app.c") == 2


class TestRemedies:
    async def test_a_file_that_drops_the_schema(self, db: AsyncDatabaseManager) -> None:
        files = {"1.sql": "CREATE TABLE t ();", "2.sql": "DROP SCHEMA app CASCADE; CREATE SCHEMA app;"}
        error = await failure(db, files)
        assert 'The file dropped the history table "app"."schema_migrations"' in str(error)
        assert await db.table_exists("app.t")

    @pytest.mark.parametrize(
        "sql",
        [
            "CREATE TABLE app.schema_migrations (version text PRIMARY KEY);",
            "INSERT INTO schema_migrations (version) VALUES ('20240101');",
            "INSERT INTO schema_migrations (id) VALUES (4);",
            "INSERT INTO schema_migrations (filename, dirty) VALUES ('4', false);",
        ],
    )
    async def test_a_table_with_the_name_of_the_history(self, db: AsyncDatabaseManager, sql: str) -> None:
        error = await failure(db, {"1.sql": sql})
        assert '"app"."schema_migrations" is the history of pgdbm. Remove the statement' in str(error)
        assert "migrations_table='pgdbm_migrations'" in str(error)

    async def test_the_schema_of_the_module(self, db: AsyncDatabaseManager) -> None:
        error = await failure(db, {"1.sql": "CREATE SCHEMA app AUTHORIZATION current_user;"})
        assert "CREATE SCHEMA IF NOT EXISTS" in str(error)

    @pytest.mark.parametrize("search_path", ["pg_catalog, pg_temp", "public"])
    async def test_an_unqualified_name_that_is_in_another_schema(self, database: str, search_path: str) -> None:
        config = DatabaseConfig(
            connection_string=database, min_connections=1, max_connections=2, shared_pool_search_path=search_path
        )
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        shared = AsyncDatabaseManager(pool=pool, schema="app")
        files = {"1.sql": "CREATE TABLE {{tables.users}} (id int);\n", "2.sql": "INSERT INTO users VALUES (1);"}
        assert "{{tables.users}}" in str(await failure(shared, files))
        await pool.close()

    async def test_the_statement_of_a_failed_execute(self, db: AsyncDatabaseManager) -> None:
        error = await failure(db, {"1.sql": "DO $$ BEGIN EXECUTE 'CREATE TABEL x ()'; END $$;"})
        assert "CREATE TABEL x ()" in str(error)
        assert "more than one statement" not in str(error)

    async def test_an_extension_in_another_schema(self, db: AsyncDatabaseManager) -> None:
        # A substitute for an extension: the embedded server has few.
        await db.execute(
            "CREATE SCHEMA users; CREATE DOMAIN users.email AS text; CREATE FUNCTION users.f() RETURNS int"
            " LANGUAGE sql AS 'SELECT 1'"
        )
        assert "email is in schema users" in str(await failure(db, {"1.sql": "CREATE TABLE t (address email);"}))
        assert "f is in schema users" in str(await failure(db, {"1.sql": "SELECT f();"}))


class TestPrivileges:
    @pytest.fixture
    async def weak(self, database: str, connect: Callable[[], Any]) -> AsyncIterator[str]:
        """The DSN of a user that may connect, and nothing else."""
        from urllib.parse import urlsplit, urlunsplit

        async with connect() as connection:
            name = f"weak_{time.monotonic_ns()}"
            await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'weak'")
            parts = urlsplit(database)
            host = parts.netloc.rpartition("@")[2]
            yield urlunsplit(parts._replace(netloc=f"{name}:weak@{host}"))
            await connection.execute(f"DROP OWNED BY {name}")
            await connection.execute(f"DROP ROLE {name}")

    async def test_the_grant_that_is_missing(self, weak: str, connect: Callable[[], Any]) -> None:
        async with connect() as connection:
            await connection.execute("CREATE SCHEMA given")
            await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        for schema, grant in (
            (None, 'GRANT USAGE, CREATE ON SCHEMA "public" TO weak_'),
            ("given", 'GRANT USAGE, CREATE ON SCHEMA "given" TO weak_'),
            ("missing", "GRANT CREATE ON DATABASE test_"),
        ):
            config = DatabaseConfig(connection_string=weak, min_connections=1, max_connections=2)
            pool = await AsyncDatabaseManager.create_shared_pool(config)
            db = AsyncDatabaseManager(pool=pool, schema=schema or "public")
            with pytest.raises(pgdbm.MigrationError) as caught:
                await apply(db, {"1.sql": "SELECT 1;"})
            assert grant in str(caught.value)
            await pool.close()

    async def test_of_a_statement(self, weak: str, connect: Callable[[], Any]) -> None:
        async with connect() as connection:
            user = weak.split("//")[1].split(":")[0]
            await connection.execute(f"CREATE SCHEMA app AUTHORIZATION {user}; CREATE SCHEMA other")
        config = DatabaseConfig(connection_string=weak, schema="app", min_connections=1, max_connections=2)
        async with AsyncDatabaseManager(config) as db:
            error = await failure(db, {"1.sql": "CREATE TABLE other.t ();"})
            assert f"GRANT USAGE, CREATE ON SCHEMA other TO {user}" in str(error)


@pytest.mark.parametrize("options", [{}, {"on_event": lambda _: None}])
async def test_a_listener_to_notices_that_fails_does_not_end_the_connection(
    db: AsyncDatabaseManager, caplog: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    def fail(_: object) -> None:
        raise ValueError("no room")

    result = await apply(db, NOTICES, on_notice=fail, **options)
    assert len(result["applied"]) == len(NOTICES)
    assert result["notices"]
    assert "A listener to notices failed" in caplog.text


async def test_a_read_only_database_is_not_the_fault_of_the_file(database: str) -> None:
    config = DatabaseConfig(connection_string=database, schema="app")
    async with AsyncDatabaseManager(config) as db:
        await AsyncMigrationManager(db, {"1.sql": "SELECT 1"}, "m").apply_pending_migrations()
    config = DatabaseConfig(
        connection_string=database, schema="app", server_settings={"default_transaction_read_only": "on"}
    )
    files = {"1.sql": "SELECT 1", "2.sql": "CREATE TABLE t ()"}
    async with AsyncDatabaseManager(config) as db:
        with pytest.raises(QueryError, match="standby, or the transaction, the role or the database"):
            await db.execute("CREATE TABLE t ()")
        with pytest.raises(MigrationExecutionError, match="standby, or the role or the database") as caught:
            await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
    assert caught.value.read_only_server
