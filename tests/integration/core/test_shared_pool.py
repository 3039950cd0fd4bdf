"""One pool for many managers: the search_path of its connections, and how it is reset."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, ConfigurationError, DatabaseConfig, QueryError, SchemaManager
from pgdbm.core.pool import without_reset

from ...support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager


def configured(dsn: str, **settings: Any) -> DatabaseConfig:
    few: dict[str, Any] = {"min_connections": 1, "max_connections": 3}
    return DatabaseConfig(connection_string=dsn, **few | settings)


async def search_paths(pool: asyncpg.Pool[Any]) -> set[str]:
    """The search_path of every connection that the pool may have."""
    held = [await pool.acquire() for _ in range(pool.get_max_size())]
    try:
        return {await connection.fetchval("SHOW search_path") for connection in held}
    finally:
        for connection in held:
            await pool.release(connection)


class TestSearchPath:
    async def test_every_connection_has_it(self, database: str) -> None:
        pool = await AsyncDatabaseManager.create_shared_pool(configured(database))
        assert await search_paths(pool) == {"pg_catalog"}
        await pool.close()

    async def test_it_comes_back_after_every_way_to_change_it(self, database: str) -> None:
        # DISCARD ALL takes prepared statements with it.
        config = configured(database, max_connections=1, statement_cache_size=0)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        for change in (
            "SET search_path = public",
            "RESET search_path",
            "RESET ALL",
            "DISCARD ALL",
            "SET SESSION AUTHORIZATION DEFAULT",
            "BEGIN; SET LOCAL search_path = public; COMMIT",
            "SELECT set_config('search_path', 'public', false)",
        ):
            await pool.execute(change)
            assert await search_paths(pool) == {"pg_catalog"}, change
        async with pool.acquire() as connection:
            await connection.execute("SET search_path = public; RESET search_path")
            assert await connection.fetchval("SHOW search_path") == "pg_catalog"
        await pool.close()

    async def test_the_servers_own_setting_does_not_win(
        self, database: str, connect: Callable[[], AbstractAsyncContextManager[Any]]
    ) -> None:
        name = database.rpartition("/")[2]
        async with connect() as connection:
            await connection.execute(f'ALTER DATABASE "{name}" SET search_path = public')
        pool = await AsyncDatabaseManager.create_shared_pool(configured(database))
        assert await search_paths(pool) == {"pg_catalog"}
        await pool.close()

    @pytest.mark.parametrize(
        ("wanted", "effective"),
        [
            ("pg_catalog", "pg_catalog"),
            ("shared,public", "shared, public"),
            (' "Shared" ,  public ', '"Shared", public'),
            ("not_there_yet", "not_there_yet"),
        ],
    )
    async def test_another_one(self, database: str, wanted: str, effective: str) -> None:
        pool = await AsyncDatabaseManager.create_shared_pool(configured(database, shared_pool_search_path=wanted))
        assert await search_paths(pool) == {effective}
        await pool.close()

    async def test_none_keeps_the_search_path_of_the_server(self, database: str) -> None:
        config = configured(database, shared_pool_search_path=None, schema="app")
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        assert await search_paths(pool) == {'"$user", public'}
        await pool.close()

    async def test_neither_the_schema_nor_the_settings_of_the_config_change_it(self, database: str) -> None:
        settings = {"work_mem": "64MB"}
        config = configured(database, schema="app", server_settings=settings)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        assert await search_paths(pool) == {"pg_catalog"}
        assert await pool.fetchval("SHOW work_mem") == "64MB"
        assert settings == {"work_mem": "64MB"}
        await pool.close()


class TestReset:
    async def test_is_what_asyncpg_resets_with(self, pool: asyncpg.Pool[Any]) -> None:
        """One message, without a statement for an encoding that is UTF-8 anyway."""
        sent: list[str] = []
        async with pool.acquire() as connection:
            connection.add_query_logger(lambda record: sent.append(record.query))
            expected = connection.get_reset_query()
        assert sent == [expected]

    async def test_the_encoding_comes_back(self, pool: asyncpg.Pool[Any]) -> None:
        for _ in range(2):
            async with pool.acquire() as connection:
                assert await connection.fetchval("SELECT $1::text[]", ["Zoë", "Übung"]) == ["Zoë", "Übung"]
                await connection.execute("SET client_encoding = LATIN1")

    async def test_a_block_without(self, pool: asyncpg.Pool[Any]) -> None:
        async with pool.acquire() as connection:
            pid = connection.get_server_pid()
            await connection.execute("SET work_mem = '77kB'")
            with without_reset():
                await pool.release(connection)
        async with pool.acquire() as connection:
            assert connection.get_server_pid() == pid
            assert await connection.fetchval("SHOW work_mem") == "77kB"
        async with pool.acquire() as connection:
            assert await connection.fetchval("SHOW work_mem") != "77kB"

    async def test_a_manager_without_it_needs_no_task(self, pool: asyncpg.Pool[Any]) -> None:
        db = AsyncDatabaseManager(pool=pool)
        loop = asyncio.get_running_loop()
        created: list[object] = []

        def create(_: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
            created.append(work)
            return asyncio.Task(work, loop=loop, **options)

        loop.set_task_factory(create)  # type: ignore[arg-type]
        try:
            with without_reset():
                assert await db.fetch_value("SELECT 1") == 1
                assert await db.fetch_all("SELECT 1 AS one") == [{"one": 1}]
                async with db.acquire() as connection:
                    assert await connection.fetchval("SELECT 1") == 1
            assert created == []
            assert await db.fetch_value("SELECT 1") == 1
            assert len(created) == 1
        finally:
            loop.set_task_factory(None)
        assert pool.get_idle_size() == pool.get_size()

    async def test_a_manager_without_it_that_is_cancelled(self, database: str) -> None:
        """It waits until the transaction that it left open is rolled back. The pool has a connection afterwards."""
        pool = await AsyncDatabaseManager.create_shared_pool(configured(database, max_connections=1))
        db = AsyncDatabaseManager(pool=pool)
        used = asyncio.Event()
        left_open: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: left_open.append(context))

        async def use() -> None:
            with without_reset():
                async with db.acquire() as connection:
                    await connection.execute("BEGIN; CREATE TABLE public.left_open ()")
                    used.set()

        using = asyncio.create_task(use())
        await used.wait()
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        assert len(left_open) == 1
        async with asyncio.timeout(5):
            assert await db.fetch_value("SELECT to_regclass('public.left_open')") is None
        await pool.close()


class TestProxyThatDropsIt:
    async def test_is_refused(self, database: str) -> None:
        async with Proxy(database, drops=("search_path",)) as proxy:
            with pytest.raises(ConfigurationError, match="drops the settings of the startup packet") as caught:
                await AsyncDatabaseManager.create_shared_pool(configured(proxy.dsn, server_settings={"jit": "on"}))
            assert caught.value.config_field == "shared_pool_search_path"
            assert '"$user", public' in str(caught.value)
            assert "shared_pool_search_path=None" in str(caught.value)
            assert proxy.accepted == 1

    async def test_may_be_used_without_one(self, database: str) -> None:
        async with Proxy(database, drops=("search_path",)) as proxy:
            config = configured(proxy.dsn, shared_pool_search_path=None)
            pool = await AsyncDatabaseManager.create_shared_pool(config)
            db = AsyncDatabaseManager(pool=pool)
            await db.execute("CREATE TABLE {{tables.items}} (id int)")
            assert await db.table_exists("items")
            await pool.close()

    async def test_a_proxy_that_passes_it_on_is_accepted(self, database: str) -> None:
        async with Proxy(database, drops=("application_name",)) as proxy:
            pool = await AsyncDatabaseManager.create_shared_pool(configured(proxy.dsn))
            assert await search_paths(pool) == {"pg_catalog"}
            assert proxy.accepted == 3
            await pool.close()

    async def test_an_equal_path_written_differently_is_accepted(
        self, database: str, connect: Callable[[], AbstractAsyncContextManager[Any]]
    ) -> None:
        name = database.rpartition("/")[2]
        async with connect() as connection:
            await connection.execute(f'ALTER DATABASE "{name}" SET search_path = shared,public')
        async with Proxy(database, drops=("search_path",)) as proxy:
            config = configured(proxy.dsn, shared_pool_search_path='"shared" , public')
            pool = await AsyncDatabaseManager.create_shared_pool(config)
            assert await search_paths(pool) == {"shared, public"}
            await pool.close()


class TestManagers:
    async def test_see_their_own_schema_only(self, pool: asyncpg.Pool[Any]) -> None:
        managers = [AsyncDatabaseManager(pool=pool, schema=schema) for schema in ("users", "orders", "public")]
        for db in managers:
            await SchemaManager(db).create_schema(db.schema or "")
            await db.execute("CREATE TABLE {{tables.notes}} (text text)")
            await db.execute("INSERT INTO {{tables.notes}} VALUES ($1)", db.schema)
        seen = await asyncio.gather(
            *(db.fetch_value("SELECT text FROM {{tables.notes}}") for _ in range(5) for db in managers)
        )
        assert seen == ["users", "orders", "public"] * 5
        for db in managers:
            with pytest.raises(QueryError, match=r"\{\{tables\.notes\}\}"):
                await db.fetch_value("SELECT text FROM notes")
        assert await managers[0].fetch_value("SELECT text FROM {{tables.orders.notes}}") == "orders"

    async def test_have_the_pools_config(self, database: str) -> None:
        config = configured(database)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        assert AsyncDatabaseManager(pool=pool, schema="a").config is config
        await pool.close()

    async def test_creating_one_takes_no_connection(self, database: str) -> None:
        pool = await AsyncDatabaseManager.create_shared_pool(configured(database))
        made = [AsyncDatabaseManager(pool=pool, schema=f"tenant_{number}") for number in range(100)]
        assert pool.get_size() == 1
        assert len({db.schema for db in made}) == 100
        await pool.close()


def count_open_pools() -> int:
    """How many pools are in memory. They cannot be weakly referenced."""
    gc.collect()
    return sum(isinstance(found, asyncpg.Pool) for found in gc.get_objects())


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what the loop still has to do, such as closing transports."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.01)


class TestWhatIsLeft:
    async def test_nothing_of_the_pool(self, database: str) -> None:
        before = count_open_pools()
        pool: Any = await AsyncDatabaseManager.create_shared_pool(configured(database, init_commands=["SELECT 1"]))
        db: Any = AsyncDatabaseManager(pool=pool, schema="app")
        async with db.transaction() as transaction:
            await transaction.fetch_value("SELECT 1")
        assert count_open_pools() == before + 1
        left = [weakref.ref(db), weakref.ref(transaction)]
        await pool.close()
        del pool, db, transaction
        await until(lambda: count_open_pools() == before)
        assert [reference() for reference in left] == [None, None]

    async def test_nothing_of_one_that_was_refused(self, database: str) -> None:
        before = count_open_pools()
        async with Proxy(database, drops=("search_path",)) as proxy:
            with pytest.raises(ConfigurationError):
                await AsyncDatabaseManager.create_shared_pool(configured(proxy.dsn))
        await until(lambda: count_open_pools() == before)

    async def test_nothing_on_the_server(
        self, database: str, connect: Callable[[], AbstractAsyncContextManager[Any]]
    ) -> None:
        pool = await AsyncDatabaseManager.create_shared_pool(
            configured(database, server_settings={"application_name": "of the shared pool"})
        )
        await search_paths(pool)
        async with connect() as connection:
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'of the shared pool'"
            assert await connection.fetchval(count) == 3
            await pool.close()
            async with asyncio.timeout(60):
                while await connection.fetchval(count):
                    await asyncio.sleep(0.01)

    async def test_asyncpg_is_as_it_was(self, pool: asyncpg.Pool[Any]) -> None:
        assert isinstance(pool, asyncpg.Pool)
        for kind in (asyncpg.Pool, asyncpg.Connection):
            assert {getattr(value, "__module__", "asyncpg") for value in vars(kind).values() if callable(value)} <= {
                f"asyncpg.{kind.__name__.lower()}"
            }


class TestAdvice:
    async def test_an_unqualified_table(self, database: str) -> None:
        pool = await AsyncDatabaseManager.create_shared_pool(configured(database))
        db = AsyncDatabaseManager(pool=pool, schema="app")
        for query in ("SELECT * FROM users", "CREATE TABLE users (id int)"):
            with pytest.raises(QueryError) as caught:
                await db.execute(query)
            assert "Write {{tables.users}} instead of users" in str(caught.value)
        await pool.close()

    async def test_a_missing_privilege(self, database: str) -> None:
        name = urlsplit(database).path[1:]
        pool = await AsyncDatabaseManager.create_shared_pool(configured(database, max_connections=1))
        db = AsyncDatabaseManager(pool=pool, schema="app")
        await db.execute(f'CREATE SCHEMA app; CREATE TABLE app.t (); CREATE ROLE "{name}"')
        try:
            async with pool.acquire() as connection:
                await connection.execute(f'SET ROLE "{name}"')
                with pytest.raises(asyncpg.InsufficientPrivilegeError) as refused:
                    await connection.execute("SELECT FROM app.t")
            failure = db.failure(refused.value, "SELECT FROM app.t", ())
            assert "GRANT CREATE, USAGE ON SCHEMA app TO" in str(failure)
        finally:
            await db.execute(f'RESET ROLE; DROP ROLE "{name}"')
            await pool.close()
