"""AsyncDatabaseManager: its pool, its schema, and closing it."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, ConfigurationError, DatabaseConfig, PoolError, QueryError, SchemaError
from pgdbm.core.pool import own_pools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[Any]]

CONFIG = DatabaseConfig(connection_string="postgresql://me@localhost/shop")


def configured(dsn: str | None, **settings: Any) -> DatabaseConfig:
    return DatabaseConfig(
        **{"connection_string": dsn, "min_connections": 1, "max_connections": 2, "retry_attempts": 1} | settings
    )


@pytest.fixture(autouse=True)
def _every_pool_is_counted_out() -> Iterator[None]:
    before = dict(own_pools._open)
    yield
    assert dict(own_pools._open) == before


async def has_schema(connect: Connect, schema: str) -> bool:
    async with connect() as connection:
        found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema)
        return found


class TestConstruction:
    async def test_either_a_config_or_a_pool(self, pool: asyncpg.Pool[Any]) -> None:
        with pytest.raises(ConfigurationError, match=r"^Cannot provide both config and pool.*pool="):
            AsyncDatabaseManager(CONFIG, pool)
        with pytest.raises(ConfigurationError, match=r"^Must provide either config or pool.*create_shared_pool"):
            AsyncDatabaseManager()
        with pytest.raises(ConfigurationError, match=r"^Schema override only valid with external pool.*DatabaseConfig"):
            AsyncDatabaseManager(CONFIG, schema="app")
        with pytest.raises(ConfigurationError, match=r"^Must provide either config or pool"):
            AsyncDatabaseManager(schema="app")

    async def test_the_schema(self, pool: asyncpg.Pool[Any]) -> None:
        assert AsyncDatabaseManager(pool=pool).schema == "public"
        assert AsyncDatabaseManager(None, pool, "app").schema == "app"
        assert AsyncDatabaseManager(CONFIG).schema is None
        assert AsyncDatabaseManager(CONFIG.model_copy(update={"schema": "app"})).schema == "app"
        for schema in ("", "a.b", 'a"; DROP SCHEMA public; --', "a" * 64):
            with pytest.raises(SchemaError):
                AsyncDatabaseManager(pool=pool, schema=schema)

    async def test_the_schema_stays(self, pool: asyncpg.Pool[Any]) -> None:
        for db in (AsyncDatabaseManager(pool=pool, schema="app"), AsyncDatabaseManager(CONFIG)):
            schema = db.schema
            with pytest.raises(ConfigurationError, match=r"schema='other'") as caught:
                db.schema = "other"
            assert caught.value.config_field == "schema"
            assert db.schema == schema

    async def test_the_config_of_a_shared_pool(self, pool: asyncpg.Pool[Any], database: str) -> None:
        db = AsyncDatabaseManager(pool=pool)
        assert db.config is not None
        assert db.config.connection_string == database
        assert db.pool is pool

    async def test_no_password_in_its_repr(self) -> None:
        config = DatabaseConfig(connection_string="postgresql://me:secret@localhost/shop", schema="app")
        assert repr(AsyncDatabaseManager(config)) == "<AsyncDatabaseManager schema='app' own pool>"


class TestOwnPool:
    async def test_connects_and_creates_the_schema(self, database: str, connect: Connect) -> None:
        db = AsyncDatabaseManager(configured(database, schema="app"))
        assert db.pool is None
        await db.connect()
        assert await has_schema(connect, "app")
        assert await db.fetch_value("SHOW search_path") == '"app", public'
        await db.execute("CREATE TABLE {{tables.items}} (id int)")
        assert await db.fetch_value("SELECT to_regclass('app.items') IS NOT NULL")
        assert await db.fetch_value("SELECT count(*) FROM items") == 0
        await db.close()

    async def test_a_schema_that_exists_needs_no_privilege(self, database: str, connect: Connect) -> None:
        async with connect() as connection:
            await connection.execute("CREATE SCHEMA app")
        settings = {"default_transaction_read_only": "on"}
        async with AsyncDatabaseManager(configured(database, schema="app", server_settings=settings)) as db:
            assert await db.fetch_value("SELECT 1") == 1

    async def test_a_schema_that_cannot_be_created_leaves_no_pool(self, database: str) -> None:
        db = AsyncDatabaseManager(
            configured(database, schema="app", server_settings={"default_transaction_read_only": "on"})
        )
        with pytest.raises(QueryError, match="read-only"):
            await db.connect()
        assert db.pool is None

    async def test_connecting_again_does_nothing(self, database: str) -> None:
        async with AsyncDatabaseManager(configured(database)) as db:
            pool = db.pool
            await db.connect()
            assert db.pool is pool

    async def test_concurrent_connects_open_one_pool(self, database: str, connect: Connect) -> None:
        db = AsyncDatabaseManager(configured(database, server_settings={"application_name": "once"}))
        await asyncio.gather(*(db.connect() for _ in range(5)))
        async with connect() as connection:
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'once'"
            assert await connection.fetchval(count) == 1
        await db.close()

    @pytest.mark.parametrize("name", ["close", "disconnect"])
    async def test_closing(self, database: str, name: str) -> None:
        db = AsyncDatabaseManager(configured(database))
        close = getattr(db, name)
        await close()
        await db.connect()
        pool = db.pool
        assert pool is not None
        await close()
        await close()
        assert db.pool is None
        assert pool.is_closing()
        assert await db.get_pool_stats() == {"status": "not_connected"}
        await db.connect()
        assert await db.fetch_value("SELECT 1") == 1
        await asyncio.gather(close(), close())

    async def test_as_a_context_manager(self, database: str) -> None:
        db = AsyncDatabaseManager(configured(database))
        with suppress(KeyError):
            async with db as same:
                assert same is db
                assert await db.fetch_value("SELECT 1") == 1
                raise KeyError
        assert db.pool is None

    async def test_queries_without_a_pool(self) -> None:
        db = AsyncDatabaseManager(CONFIG)
        for use in (
            db.execute("SELECT 1"),
            db.executemany("SELECT $1::int", [(1,)]),
            db.fetch_one("SELECT 1"),
            db.fetch_all("SELECT 1"),
            db.fetch_value("SELECT 1"),
            db.copy_records_to_table("items", [(1,)]),
            db.table_exists("items"),
            db.acquire().__aenter__(),
            db.transaction().__aenter__(),
        ):
            with pytest.raises(PoolError, match=r"connect\(\)"):
                await use

    async def test_init_commands_run_on_each_connection(self, database: str) -> None:
        commands = ["CREATE TEMP TABLE mine (id int)", "INSERT INTO mine VALUES (7)"]
        async with AsyncDatabaseManager(configured(database, min_connections=2, init_commands=commands)) as db:
            found = await asyncio.gather(*(db.fetch_value("SELECT id, pg_sleep(0.01) FROM mine") for _ in range(4)))
        assert found == [7] * 4

    async def test_an_init_command_that_fails(self, database: str) -> None:
        db = AsyncDatabaseManager(configured(database, init_commands=["SELECT 1", "SELEC 2"], retry_attempts=3))
        with pytest.raises(ConfigurationError, match=r'command 2 failed.*"SELEC"') as caught:
            await db.connect()
        assert caught.value.config_field == "init_commands"

    async def test_settings_reach_the_server(self, database: str) -> None:
        config = configured(
            f"{database}?application_name=shop",
            server_settings={"work_mem": "64MB"},
            lock_timeout_ms=1234,
            statement_timeout_ms=None,
        )
        async with AsyncDatabaseManager(config) as db:
            shown = {
                name: await db.fetch_value(f"SHOW {name}")
                for name in ("application_name", "jit", "work_mem", "lock_timeout", "statement_timeout")
            }
        assert shown == {
            "application_name": "shop",
            "jit": "off",
            "work_mem": "64MB",
            "lock_timeout": "1234ms",
            "statement_timeout": "0",
        }


class TestAnotherPool:
    WARNING = "Creating another connection pool to"

    async def test_a_second_one_is_a_warning_until_the_first_is_closed(
        self, database: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with AsyncDatabaseManager(configured(database)):
            assert self.WARNING not in caplog.text
            async with AsyncDatabaseManager(configured(database)):
                (record,) = caplog.records
                assert record.levelno == logging.WARNING
                assert record.getMessage().startswith(self.WARNING)
                assert "create_shared_pool" in record.getMessage()
                assert "AsyncDatabaseManager(pool=pool, schema=...)" in record.getMessage()
        caplog.clear()
        async with AsyncDatabaseManager(configured(database)):
            assert self.WARNING not in caplog.text

    async def test_a_pool_of_another_database_causes_no_warning(
        self, database: str, postgres_dsn: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with AsyncDatabaseManager(configured(database)), AsyncDatabaseManager(configured(postgres_dsn)):
            assert self.WARNING not in caplog.text

    async def test_shared_pools_do_not_count(
        self, pool: asyncpg.Pool[Any], database: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        AsyncDatabaseManager(pool=pool, schema="a")
        AsyncDatabaseManager(pool=pool, schema="b")
        async with AsyncDatabaseManager(configured(database)):
            assert self.WARNING not in caplog.text

    async def test_the_count_does_not_depend_on_the_password(
        self, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parts = urlsplit(database)
        monkeypatch.setenv("DB_PASSWORD", unquote(parts.password or "none"))
        config = configured(
            None,
            host=parts.hostname,
            port=parts.port,
            user=parts.username,
            database=parts.path.lstrip("/"),
        )
        db = AsyncDatabaseManager(config)
        await db.connect()
        monkeypatch.delenv("DB_PASSWORD")
        await db.close()
        assert db.pool is None


class TestExternalPool:
    async def test_it_cannot_be_connected(self, db: AsyncDatabaseManager) -> None:
        with pytest.raises(PoolError, match=r"^Cannot call connect"):
            await db.connect()

    @pytest.mark.parametrize("name", ["close", "disconnect"])
    async def test_is_not_changed(self, db: AsyncDatabaseManager, name: str) -> None:
        await getattr(db, name)()
        await getattr(db, name)()
        assert await db.fetch_value("SELECT 1") == 1

    async def test_as_a_context_manager(self, db: AsyncDatabaseManager) -> None:
        async with db as same:
            assert same is db
        assert await db.fetch_value("SELECT 1") == 1

    async def test_a_plain_asyncpg_pool(self, database: str) -> None:
        async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
            db = AsyncDatabaseManager(pool=pool, schema="app")
            assert db.config is None
            assert await db.fetch_value("SELECT 1") == 1

    async def test_when_it_is_closed(self, db: AsyncDatabaseManager, pool: asyncpg.Pool[Any]) -> None:
        await pool.close()
        with pytest.raises(PoolError, match="closed"):
            await db.execute("SELECT 1")
        with pytest.raises(PoolError, match="closed"):
            async with db.acquire():
                pass
        with pytest.raises(PoolError, match="closed"):
            async with db.transaction():
                pass
        with pytest.raises(PoolError, match="closed"):
            await db.get_pool_stats()

    async def test_while_it_is_closing(self, db: AsyncDatabaseManager, pool: asyncpg.Pool[Any]) -> None:
        async with db.acquire():
            closing = asyncio.create_task(pool.close())
            await asyncio.sleep(0)
            with pytest.raises(PoolError, match="clos"):
                await db.execute("SELECT 1")
        await closing


async def test_acquire_gives_a_raw_connection(db: AsyncDatabaseManager, pool: asyncpg.Pool[Any]) -> None:
    async with db.acquire() as connection:
        assert await connection.fetchval("SELECT 1") == 1
        assert pool.get_idle_size() == pool.get_size() - 1
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.execute("SELECT * FROM nothing")
    assert pool.get_idle_size() == pool.get_size()


async def test_acquired_connections_come_back_after_a_cancellation(
    db: AsyncDatabaseManager, pool: asyncpg.Pool[Any]
) -> None:
    started = asyncio.Event()

    async def hold() -> None:
        async with db.acquire() as connection:
            started.set()
            await connection.execute("SELECT pg_sleep(60)")

    task = asyncio.create_task(hold())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await db.fetch_value("SELECT 1") == 1
    assert pool.get_idle_size() == pool.get_size()


async def test_pool_stats(db: AsyncDatabaseManager, database: str) -> None:
    async with db.acquire() as connection:
        stats = await db.get_pool_stats()
        pid = connection.get_server_pid()
    assert stats.pop("pid") != pid
    assert "PostgreSQL" in stats.pop("version")
    assert stats == {
        "status": "connected",
        "min_size": 1,
        "max_size": 10,
        "size": 2,
        "free_size": 1,
        "used_size": 1,
        "database": database.rpartition("/")[2],
        "schema": "app",
    }


async def test_prepared_statements_are_checked_when_they_are_added(db: AsyncDatabaseManager) -> None:
    db.add_prepared_statement("find", "SELECT * FROM {{tables.items}} WHERE id = $1")
    with pytest.raises(QueryError, match="line 1, column 15"):
        db.add_prepared_statement("find", "SELECT * FROM {{items}}")
