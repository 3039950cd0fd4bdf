"""The interfaces that programs written for 0.5 rely on. Each test is a line of the contract."""

from __future__ import annotations

import asyncio
import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import pgdbm
import pgdbm.core
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, AsyncTestDatabase, DatabaseConfig, DatabaseTestCase
from pgdbm.fixtures.tables import ROWS, TABLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def db(database: str) -> AsyncIterator[AsyncDatabaseManager]:
    async with AsyncDatabaseManager(
        DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=3)
    ) as manager:
        await manager.execute("CREATE TABLE {{tables.items}} (id int PRIMARY KEY, name text NOT NULL)")
        yield manager


class TestMigrations:
    async def test_the_manager_by_name(self, db: AsyncDatabaseManager, tmp_path: Path) -> None:
        (tmp_path / "001_a.sql").write_text("CREATE TABLE {{tables.a}} ()")
        migrations = AsyncMigrationManager(db_manager=db, migrations_path=str(tmp_path), module_name="m")
        assert (await migrations.apply_pending_migrations())["status"] == "success"

    @pytest.mark.parametrize("name", ["a-b", "9a", "a; DROP TABLE b", "", "x" * 64])
    async def test_an_invalid_migrations_table(self, db: AsyncDatabaseManager, name: str) -> None:
        with pytest.raises(pgdbm.MigrationError, match="Invalid migrations table name"):
            AsyncMigrationManager(db, ".", "m", migrations_table=name)

    @pytest.mark.parametrize("auto_transaction", [True, False])
    async def test_create_migration_writes_the_content_as_given(
        self, db: AsyncDatabaseManager, tmp_path: Path, auto_transaction: bool
    ) -> None:
        content = "\n-- a comment\nSELECT 1;  \n\n"
        migrations = AsyncMigrationManager(db, tmp_path, "m")
        path = await migrations.create_migration("add things", content, auto_transaction=auto_transaction)
        assert Path(path).read_bytes() == content.encode()


class TestErrors:
    async def test_exceptions_are_instances_of_both_classes(self, db: AsyncDatabaseManager) -> None:
        async def insert(target: Any) -> None:
            await target.execute("INSERT INTO {{tables.items}} VALUES ($1, $2)", 1, "secret-" * 10)

        await insert(db)
        with pytest.raises(asyncpg.UniqueViolationError) as outside:
            await insert(db)
        with pytest.raises(asyncpg.UniqueViolationError) as inside:
            async with db.transaction() as transaction:
                await insert(transaction)
        for error in (outside.value, inside.value):
            assert isinstance(error, pgdbm.QueryError)
            assert isinstance(error, asyncpg.IntegrityConstraintViolationError)
            assert isinstance(error, asyncpg.PostgresError)
            assert (error.sqlstate, error.constraint_name, error.table_name) == ("23505", "items_pkey", "items")
            assert isinstance(error.__cause__, asyncpg.UniqueViolationError)
            assert error.original_error is error.__cause__
            assert type(error).__name__ == "QueryError"
            assert "secret" not in str(error)
            assert "DETAIL" not in str(error)

    @pytest.mark.parametrize(
        ("query", "arguments", "kind"),
        [
            ("SELEC 1", (), asyncpg.PostgresSyntaxError),
            ("SELECT * FROM nowhere", (), asyncpg.UndefinedTableError),
            ("INSERT INTO {{tables.items}} VALUES (2, NULL)", (), asyncpg.NotNullViolationError),
            ("SELECT $1::int", ("x",), asyncpg.DataError),
            ("SELECT 1", (1,), asyncpg.InterfaceError),
        ],
    )
    async def test_of_each_kind(
        self, db: AsyncDatabaseManager, query: str, arguments: tuple[Any, ...], kind: type[Exception]
    ) -> None:
        for method in (db.execute, db.fetch_one, db.fetch_all, db.fetch_value):
            with pytest.raises(kind) as caught:
                await method(query, *arguments)
            assert isinstance(caught.value, pgdbm.QueryError)
        with pytest.raises(kind) as caught:
            async with db.transaction() as transaction:
                await transaction.fetch_one(query, *arguments)
        assert isinstance(caught.value, pgdbm.QueryError)

    async def test_are_wrapped_once(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(pgdbm.QueryError) as caught:
            async with db.transaction() as outer, outer.transaction() as inner:
                await inner.execute("SELEC 1")
        assert str(caught.value).count("Query failed") == 1
        assert db.failure(caught.value, "another", ()) is caught.value

    async def test_can_be_sent_to_another_process(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(pgdbm.QueryError) as caught:
            await db.execute("SELEC $1", "x")
        copy = pickle.loads(pickle.dumps(caught.value))
        assert type(copy) is pgdbm.QueryError
        assert (str(copy), copy.query, copy.details) == (str(caught.value), caught.value.query, caught.value.details)

    async def test_on_a_pool_that_is_closed(self, database: str) -> None:
        pool = await asyncpg.create_pool(database, min_size=1, max_size=1)
        db = AsyncDatabaseManager(pool=pool)
        await pool.close()
        for use in (db.execute, db.fetch_all, db.fetch_value):
            with pytest.raises(asyncpg.InterfaceError) as caught:
                await use("SELECT 1")
            assert isinstance(caught.value, pgdbm.PoolError)

    def test_a_connection_error_of_ones_own(self) -> None:
        error = pgdbm.ConnectionError(
            "Failed to connect", host="db.example.com", port=5433, database="shop", attempts=3
        )
        assert "db.example.com:5433" in str(error)
        assert "Troubleshooting tips" in str(error)
        assert "Check if PostgreSQL is running" in str(error)
        assert (error.host, error.port, error.database, error.attempts) == ("db.example.com", 5433, "shop", 3)
        assert error.details == {"host": "db.example.com", "port": 5433, "database": "shop", "attempts": 3}
        assert str(pgdbm.ConnectionError("Failed")) == "Failed"

    async def test_a_connection_error_of_the_library(self) -> None:
        config = DatabaseConfig(connection_string="postgresql://me:s@127.0.0.1:1/shop", retry_attempts=1)
        with pytest.raises(pgdbm.ConnectionError) as caught:
            await AsyncDatabaseManager(config).connect()
        text = str(caught.value)
        assert "127.0.0.1:1" in text
        assert text.count("Troubleshooting tips") == text.count("Check if PostgreSQL is running") == 1
        assert caught.value.details["attempts"] == caught.value.attempts == 1

    def test_a_query_error_of_ones_own(self) -> None:
        error = pgdbm.QueryError("It failed", query="SELECT * FROM users", params=(1,))
        assert "SELECT * FROM users" in str(error)
        assert error.params == (1,)
        long = pgdbm.QueryError("It failed", query="SELECT " + "x, " * 100)
        assert "SELECT x, x, " in str(long)
        assert str(long).endswith("...")
        assert len(str(long)) < 200


class TestSearchPaths:
    def test_the_neutral_one_is_public(self) -> None:
        assert pgdbm.core.NEUTRAL_SEARCH_PATH == "pg_catalog"
        assert "NEUTRAL_SEARCH_PATH" in pgdbm.core.__all__

    async def test_a_shared_pool_shows_it_without_quotes(self, database: str) -> None:
        for given, shown in ((None, "pg_catalog"), ("app, public", "app, public"), ("App,public", '"App", public')):
            options = {} if given is None else {"shared_pool_search_path": given}
            config = DatabaseConfig(connection_string=database, min_connections=1, **options)
            pool = await AsyncDatabaseManager.create_shared_pool(config)
            assert await pool.fetchval("SHOW search_path") == shown
            await pool.close()

    async def test_one_in_server_settings_contradicts(self, database: str) -> None:
        config = DatabaseConfig(
            connection_string=database, min_connections=1, server_settings={"search_path": "app, public"}
        )
        with pytest.raises(pgdbm.ConfigurationError) as caught:
            await AsyncDatabaseManager.create_shared_pool(config)
        for words in (
            "app, public",
            "pg_catalog",
            "shared_pool_search_path=None",
            "pooler",
            "ALTER ROLE ... SET",
            "pg_settings.source",
        ):
            assert words in str(caught.value)
        pool = await AsyncDatabaseManager.create_shared_pool(
            config.model_copy(update={"shared_pool_search_path": None})
        )
        assert await pool.fetchval("SHOW search_path") == "app, public"
        await pool.close()


class TestTemplates:
    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("SELECT * FROM {{tables.9x}}", "Invalid table name"),
            ("SELECT * FROM {{tables.9s.x}}", "Invalid schema name"),
            ("SELECT * FROM {{tables." + "x" * 64 + "}}", "Invalid table name"),
            ("SELECT * FROM {{tables." + "x" * 64 + ".x}}", "Invalid schema name"),
        ],
    )
    async def test_invalid_names(self, db: AsyncDatabaseManager, query: str, message: str) -> None:
        with pytest.raises(pgdbm.SchemaError, match=message):
            db.prepare_query(query)
        with pytest.raises(pgdbm.SchemaError, match=message):
            await db.execute(query)

    async def test_text_with_braces_is_stored_as_it_is(self, db: AsyncDatabaseManager, tmp_path: Path) -> None:
        mail = "Dear {{first_name}}, {{#each}}{{tables.9x}}{{/each}} C:\\{{x}}"
        await db.execute(f"INSERT INTO {{{{tables.items}}}} VALUES (1, '{mail}') -- {{{{comment}}}}")
        assert await db.fetch_value("SELECT name FROM {{tables.items}}") == mail
        (tmp_path / "001_mail.sql").write_text(
            f"INSERT INTO {{{{tables.items}}}} VALUES (2, '{mail}'); -- {{{{todo}}}}"
        )
        await AsyncMigrationManager(db, tmp_path, "m").apply_pending_migrations()
        assert await db.fetch_value("SELECT name FROM {{tables.items}} WHERE id = 2") == mail

    async def test_a_plan_says_where_text_is_changed(self, db: AsyncDatabaseManager, tmp_path: Path) -> None:
        text = "select * from {{schema}}.orders"
        (tmp_path / "001.sql").write_text(
            f"INSERT INTO {{{{tables.items}}}} VALUES (1, '{text}'), (2, 'C:\\{{{{schema}}}}'), (3, '{{{{schema}}}}')"
        )
        migrations = AsyncMigrationManager(db, tmp_path, "m")
        (planned,) = (await migrations.plan()).pending
        hits = [finding for finding in planned.findings if finding.rule == "PGDBM031"]
        assert ["{{schema}} in this text" in hits[0].message, "backslash" in hits[1].message] == [True, True]
        assert len(hits) == 2
        await migrations.apply_pending_migrations()
        rows = await db.fetch_all("SELECT name FROM {{tables.items}} ORDER BY id")
        assert [row["name"] for row in rows] == ['select * from "app".orders', "C:{{schema}}", '"app"']


class TestMonitoring:
    async def test_the_version_in_the_health_check(self, db: AsyncDatabaseManager) -> None:
        health = await pgdbm.DatabaseDebugger(db).check_connection_health()
        assert health["checks"]["connectivity"]["version"].startswith("PostgreSQL ")

    async def test_the_sizes_of_tables(self, db: AsyncDatabaseManager) -> None:
        await db.execute("INSERT INTO {{tables.items}} SELECT i, 'x' FROM generate_series(1, 500) i")
        (row,) = await pgdbm.DatabaseDebugger(db).analyze_table_sizes()
        while not row["row_count"]:
            # The statistics of a session are flushed once a second.
            await asyncio.sleep(0.1)
            (row,) = await pgdbm.DatabaseDebugger(db).analyze_table_sizes()
        assert row["tablename"] == row["table"] == "items"
        assert row["size_bytes"] == row["total_bytes"] > 0
        assert row["row_count"] == 500


class TestTesting:
    async def test_the_tables_of_the_fixtures(self, database: str) -> None:
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, min_connections=1)) as db:
            await db.execute(TABLES)
            await db.execute(ROWS)
            users = await db.fetch_all("SELECT email, full_name, is_active FROM users ORDER BY id")
            assert [user["email"] for user in users] == [
                "alice@example.com", "bob@example.com", "charlie@example.com"
            ]  # fmt: skip
            assert all(user["full_name"] and user["is_active"] for user in users)
            projects = await db.fetch_all("SELECT id, name, owner_id FROM projects ORDER BY id")
            assert [project["owner_id"] for project in projects] == [1, 1]
            counted = await db.fetch_all("SELECT project_id, count(*) FROM agents GROUP BY project_id ORDER BY 1")
            assert [row["count"] for row in counted] == [3, 2]
            await db.fetch_all("SELECT project_id, title, assigned_to, status FROM agents")

    @pytest.fixture
    def testing(self) -> AsyncTestDatabase:
        return AsyncTestDatabase(pgdbm.DatabaseTestConfig())

    async def test_a_folder_of_fixtures(
        self, db: AsyncDatabaseManager, testing: AsyncTestDatabase, tmp_path: Path
    ) -> None:
        (tmp_path / "01_items.sql").write_text("INSERT INTO {{tables.items}} VALUES (1, 'a'), (2, 'b');")
        (tmp_path / "02_more.json").write_text(json.dumps({"items": [{"id": 3, "name": "c"}]}))
        (tmp_path / "03_last.sql").write_text("INSERT INTO {{tables.items}} SELECT id + 10, name FROM {{tables.items}}")
        (tmp_path / "README").write_text("not a fixture")
        assert await testing.load_fixtures(db, tmp_path) == {"01_items": 2, "items": 1, "03_last": 3}
        assert await DatabaseTestCase(db).count_rows("items") == 6

    async def test_a_folder_is_loaded_as_a_whole(
        self, db: AsyncDatabaseManager, testing: AsyncTestDatabase, tmp_path: Path
    ) -> None:
        (tmp_path / "1.sql").write_text("INSERT INTO {{tables.items}} VALUES (1, 'a')")
        (tmp_path / "2.sql").write_text("INSERT INTO {{tables.items}} VALUES (1, 'b')")
        with pytest.raises(pgdbm.DatabaseTestError, match=r"2\.sql"):
            await testing.load_fixtures(db, tmp_path)
        assert await DatabaseTestCase(db).count_rows("items") == 0

    async def test_snapshots(self, db: AsyncDatabaseManager, testing: AsyncTestDatabase) -> None:
        await db.execute("INSERT INTO {{tables.items}} VALUES (2, 'b'), (1, 'a')")
        snapshot = await testing.snapshot_table(db, "items", order_by="id")
        assert [row["id"] for row in snapshot] == [1, 2]
        await testing.assert_table_unchanged(db, "items", snapshot, order_by="id")
        await db.execute("UPDATE {{tables.items}} SET name = 'c' WHERE id = 2")
        with pytest.raises(AssertionError, match="Table 'items' has changed"):
            await testing.assert_table_unchanged(db, "items", snapshot, order_by="id")

    @pytest.mark.parametrize(
        "where", ["true; DROP TABLE items", "id = 1 ORDER BY id", "id IN (SELECT 1)", "1 = 1) OR (2 = 2", "selec selec"]
    )
    async def test_a_clause_that_is_more_than_a_condition(self, db: AsyncDatabaseManager, where: str) -> None:
        with pytest.raises(ValueError, match="Unsafe where clause"):
            await DatabaseTestCase(db).count_rows("items", where)
