"""Through PgBouncer in transaction mode, where every transaction may run on another connection of the server."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from pgdbm import (
    AsyncDatabaseManager,
    AsyncMigrationManager,
    ConfigurationError,
    ConnectionError,
    DatabaseConfig,
    MigrationError,
    MigrationExecutionError,
)

from ...support.migration_processes import migration_processes
from ...support.pgbouncer import SERVER_CONNECTIONS, controlled_pgbouncer, pgbouncer
from ..engine.test_concurrent_runners import TABLES, applied_counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from ...conftest import Databases

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

POOLED: dict[str, Any] = {"statement_cache_size": 0, "shared_pool_search_path": None}
"""What a config needs for a transaction pooler that drops the search_path."""


@asynccontextmanager
async def shared(dsn: str, **settings: Any) -> AsyncIterator[asyncpg.Pool[Any]]:
    few = {"min_connections": 1, "max_connections": 10}
    config = DatabaseConfig(connection_string=dsn, **few | POOLED | settings)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def encoded(databases: Databases, pooler: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with an encoding other than UTF-8, through the pooler."""
    with databases.fresh(encoding=request.param) as database:
        yield pooler + urlsplit(database).path


async def test_text_is_sent_as_utf8_after_a_reset(encoded: str) -> None:
    async with shared(encoded, max_connections=1) as pool:
        for _ in range(3):
            async with pool.acquire() as connection:
                assert await connection.fetchval("SHOW client_encoding") == "UTF8"
                assert await connection.fetchval("SELECT $1::text[]", ["Zoë", "Übung"]) == ["Zoë", "Übung"]


async def test_text_is_sent_as_utf8_where_a_setting_of_the_database_is_another(pooled: str, connect: Connect) -> None:
    async with connect() as connection:
        await connection.execute(f'ALTER DATABASE "{urlsplit(pooled).path[1:]}" SET client_encoding = LATIN1')
    async with shared(pooled, max_connections=1) as pool:
        for _ in range(2 * SERVER_CONNECTIONS):
            async with pool.acquire() as connection:
                assert await connection.fetchval("SHOW client_encoding") == "UTF8"
                assert await connection.fetchval("SELECT $1::text[]", ["Zoë", "Übung"]) == ["Zoë", "Übung"]


class TestStartUp:
    async def test_startup_parameters_that_it_rejects_are_named(self, postgres_dsn: str, database: str) -> None:
        with pgbouncer(postgres_dsn, ignored="") as base:
            config = DatabaseConfig(connection_string=base + urlsplit(database).path, retry_delay=0)
            for connecting in (AsyncDatabaseManager.create_shared_pool, lambda c: AsyncDatabaseManager(c).connect()):
                with pytest.raises(ConnectionError, match="ignore_startup_parameters") as caught:
                    await connecting(config)
                assert caught.value.details["attempts"] == 1
                # The advice names every refused setting: all that the config sends.
                advised = str(caught.value).rpartition("ignore_startup_parameters = ")[2]
                assert all(name in advised for name in config.get_server_settings() if name != "application_name")
                assert "anything" not in "".join(traceback.format_exception(caught.value))

    async def test_a_dropped_search_path_is_refused(self, pooled: str) -> None:
        for wanted in ("pg_catalog", "app"):
            with pytest.raises(ConfigurationError, match="drops the settings of the startup packet") as caught:
                async with shared(pooled, shared_pool_search_path=wanted):
                    pass
            assert caught.value.config_field == "shared_pool_search_path"

    async def test_a_search_path_set_by_the_server_is_accepted(self, pooled: str, connect: Connect) -> None:
        async with connect() as connection:
            await connection.execute(f'ALTER DATABASE "{urlsplit(pooled).path[1:]}" SET search_path = pg_catalog')
        async with shared(pooled, shared_pool_search_path="pg_catalog") as pool:
            for _ in range(2 * SERVER_CONNECTIONS):
                assert await pool.fetchval("SHOW search_path") == "pg_catalog"


async def test_a_search_path_for_each_transaction(pooled: str, database: str) -> None:
    """No kind of query calls objects that others have created in ``public``."""
    pinned = {"transaction_search_path": "pg_catalog", "direct_connection_string": database}
    async with shared(pooled, **pinned) as pool:
        await pool.execute(
            "CREATE FUNCTION public.trap(a varchar, b varchar) RETURNS boolean LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'trapped'; END $$; "
            "CREATE OPERATOR public.= (leftarg = varchar, rightarg = varchar, function = public.trap)"
        )
        comparison = "SELECT $1::varchar = $2::varchar"
        for _ in range(2 * SERVER_CONNECTIONS):
            assert await pool.fetchval("SHOW search_path") == "pg_catalog"
            assert await pool.fetchval(comparison, "a", "a")
            assert (await pool.fetchrow(comparison, "a", "a"))[0]
            assert (await pool.fetch(comparison, "a", "a"))[0][0]
            await pool.execute(comparison, "a", "a")
            await pool.executemany(comparison, [("a", "a")])
            async with pool.acquire() as connection:
                assert await connection.fetchmany(f"{comparison} AS same", [("a", "a")]) == [(True,)]
                for options in ({}, {"isolation": "serializable", "readonly": True}):
                    async with connection.transaction(**options):
                        assert await connection.fetchval(comparison, "a", "a")
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await connection.fetchval("SELECT 1 / $1::integer", 0)
                assert not connection.is_in_transaction()
        async with AsyncDatabaseManager(pool=pool).acquire_direct() as direct:
            assert await direct.fetchval("SHOW search_path") == "pg_catalog"
    async with shared(pooled) as pool:
        with pytest.raises(asyncpg.RaiseError, match="trapped"):
            await pool.fetchval(comparison, "a", "a")


async def test_many_tasks_query_over_few_server_connections(pooled: str) -> None:
    async with shared(pooled, max_connections=20) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        await db.execute("CREATE SCHEMA app")
        await db.execute("CREATE TABLE {{tables.t}} (id int, name text)")

        async def one(number: int) -> None:
            assert await db.fetch_value("SELECT $1::int", number) == number
            await db.execute("INSERT INTO {{tables.t}} VALUES ($1, $2)", number, f"n{number}")
            assert await db.fetch_one(
                "SELECT name, $2::text AS other FROM {{tables.t}} WHERE id = $1", number, "x"
            ) == {
                "name": f"n{number}",
                "other": "x",
            }
            async with db.transaction() as tx:
                pids = {await tx.fetch_value("SELECT pg_backend_pid()") for _ in range(3)}
                assert len(pids) == 1
            await db.executemany("INSERT INTO {{tables.t}} VALUES ($1, $2)", [(-number, "a"), (-number, "b")])

        await asyncio.gather(*map(one, range(1, 41)))
        assert await db.fetch_value("SELECT count(*) FROM {{tables.t}}") == 120


async def test_eight_runners_apply_each_migration_once(pooled: str, connect: Connect) -> None:
    # These are not batchable: they are sent statement by statement, the others together.
    slow = {
        f"{number:03}.sql": (
            f"CREATE TABLE {{{{tables.t{number}}}}} AS SELECT generate_series(1, 50) AS id;\n"
            f"UPDATE {{{{tables.t{number}}}}} SET id = id + 1;\nSELECT pg_sleep(0.01);"
        )
        for number in range(1, 5)
    }
    rounds: list[tuple[dict[str, str], dict[str, Any]]] = [(TABLES, {}), (slow, {}), (slow, {"atomic": "all"})] * 3
    async with migration_processes(pooled, 8, **POOLED) as runners, connect() as connection:
        for number, (files, how) in enumerate(rounds):
            schema = f"round_{number}"
            answers = await asyncio.gather(*(runner.migrate(schema, files, apply=how) for runner in runners))
            assert applied_counts(answers) == dict.fromkeys(files, 1), number
            rows = await connection.fetch(f"SELECT filename FROM {schema}.schema_migrations ORDER BY id")
            assert [row["filename"] for row in rows] == list(files)
            for table in range(1, len(files) + 1):
                rows_there = await connection.fetchval(f"SELECT sum(id) FROM {schema}.t{table}")
                assert rows_there == (1 if files is TABLES else sum(range(2, 52)))
        assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


async def test_session_mode_keeps_prepared_statements(database: str, connect: Connect) -> None:
    """Otherwise it is like transaction mode: PgBouncer drops the search_path, and announces process ids of its own."""
    with controlled_pgbouncer(database) as pooler:
        pooler.restart(pool_mode="session", default_pool_size="20")
        address = pooler.base + urlsplit(database).path
        pinned = {"shared_pool_search_path": None, "direct_connection_string": database}
        async with migration_processes(address, 4, **pinned) as runners, connect() as connection:
            for number in range(3):
                schema = f"round_{number}"
                answers = await asyncio.gather(*(runner.migrate(schema, MIXED) for runner in runners))
                assert applied_counts(answers) == dict.fromkeys(MIXED, 1), number
            assert await connection.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        async with shared(address, statement_cache_size=100) as pool:
            db = AsyncDatabaseManager(pool=pool, schema="app")
            with pytest.raises(MigrationError, match="set direct_connection_string"):
                await AsyncMigrationManager(db, MIXED, "m").apply_pending_migrations()
            assert list(await AsyncMigrationManager(db, MIXED, "m").get_applied_migrations()) == ["001.sql"]


async def test_a_failure_has_its_line_while_other_runners_work(pooled: str) -> None:
    """Each of many runs fails in a different file; all of them share a few connections."""

    async def fail(pool: asyncpg.Pool[Any], number: int) -> None:
        schema = f"s{number}"
        db = AsyncDatabaseManager(pool=pool, schema=schema)
        files = {f"{n:03}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int);" for n in range(1, 41)}
        broken = f"{number + 5:03}.sql"
        # Errors that the parser cannot find: with a position in the server's answer, and without one.
        fault = "ALTER TABLE {{tables.t1}}\n  ADD note nothing;" if number % 2 else "DROP TABLE\n{{tables.nothing}};"
        files[broken] = f"-- é\nCREATE TABLE {{{{tables.u}}}} (id int);\n\n{fault}"
        with pytest.raises(MigrationExecutionError) as caught:
            await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
        error = caught.value
        assert error.migration_file == broken
        assert error.statement == 2
        assert (error.line, error.column) == ((5, 12) if number % 2 else (4, 1))
        assert [one["filename"] for one in error.applied] == sorted(files)[: number + 4]
        history = await AsyncMigrationManager(db, files, "m").get_applied_migrations()
        assert sorted(history) == sorted(files)[: number + 4]
        assert not await db.table_exists("u")
        del files[broken]
        assert (await AsyncMigrationManager(db, files, "m").apply_pending_migrations())["status"] == "success"

    async with shared(pooled, max_connections=12) as pool:
        stop = asyncio.Event()

        async def take_connections() -> None:
            while not stop.is_set():
                await pool.fetchval("SELECT set_config('pgdbm.done', 'pgdbm:done:0000000000000000:7', true)")

        other_tasks = [asyncio.create_task(take_connections()) for _ in range(4)]
        try:
            await asyncio.gather(*(fail(pool, number) for number in range(8)))
        finally:
            stop.set()
            await asyncio.gather(*other_tasks)
        # What the messages have prepared, in every connection of the server.
        query = "SELECT count(*) FROM pg_catalog.pg_prepared_statements, pg_catalog.pg_sleep(0.2) WHERE from_sql"
        assert await asyncio.gather(*(pool.fetchval(query) for _ in range(SERVER_CONNECTIONS))) == (
            [0] * SERVER_CONNECTIONS
        )


async def test_settings_of_a_file_do_not_leak_to_other_clients(pooled: str) -> None:
    files = {
        f"{number:03}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} (id int);\nSET search_path = app;"
        for number in range(1, 3 * SERVER_CONNECTIONS)
    }
    async with shared(pooled) as pool, shared(pooled, max_connections=SERVER_CONNECTIONS) as other:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        stop = asyncio.Event()
        seen: set[str] = set()

        async def poll() -> None:
            while not stop.is_set():
                seen.add(await other.fetchval("SELECT pg_catalog.current_setting('search_path')"))

        polling = [asyncio.create_task(poll()) for _ in range(SERVER_CONNECTIONS)]
        try:
            await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
        finally:
            stop.set()
            await asyncio.gather(*polling)
        assert seen == {'"$user", public'}


MIXED = {
    "001.sql": "CREATE TABLE {{tables.t}} (id int);",
    "002.sql": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id);",
    "003.sql": "ALTER TABLE {{tables.t}} ADD note text;",
}


class TestWithoutTransaction:
    async def test_no_transaction_files_are_refused_without_a_direct_address(self, pooled: str) -> None:
        async with shared(pooled) as pool:
            db = AsyncDatabaseManager(pool=pool, schema="app")
            with pytest.raises(MigrationError, match="need a direct connection"):
                await AsyncMigrationManager(db, MIXED, "m").apply_pending_migrations()
            assert list(await AsyncMigrationManager(db, MIXED, "m").get_applied_migrations()) == ["001.sql"]

    async def test_no_transaction_files_run_over_the_direct_address(
        self, pooled: str, database: str, connect: Connect
    ) -> None:
        direct = {"direct_connection_string": database}
        async with migration_processes(pooled, 4, **POOLED, **direct) as runners, connect() as connection:
            for number in range(3):
                schema = f"round_{number}"
                answers = await asyncio.gather(*(runner.migrate(schema, MIXED) for runner in runners))
                assert applied_counts(answers) == dict.fromkeys(MIXED, 1), number
                assert await connection.fetchval(
                    "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::regclass", f"{schema}.t_id"
                )


async def test_a_runner_that_reports_its_backend_keeps_it(pooled: str, database: str) -> None:
    received: list[int | None] = []
    files = {"001.sql": "CREATE TABLE {{tables.t}} AS SELECT pg_backend_pid() AS pid;"}
    async with shared(pooled, direct_connection_string=database) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        await AsyncMigrationManager(db, files, "m", on_backend=received.append).apply_pending_migrations()
        assert received == [await db.fetch_value("SELECT pid FROM {{tables.t}}"), None]


async def test_a_direct_connection_bypasses_the_pooler(pooled: str, database: str) -> None:
    async with shared(pooled, direct_connection_string=database, server_settings={"work_mem": "5MB"}) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        async with db.acquire_direct() as direct, db.acquire() as through_the_pooler:
            assert await direct.fetchval("SELECT pg_backend_pid()") == direct.get_server_pid()
            assert await through_the_pooler.fetchval("SELECT pg_backend_pid()") != through_the_pooler.get_server_pid()
            # A setting that the pooler would drop reaches the server.
            assert await direct.fetchval("SHOW work_mem") == "5MB"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["restart", "RECONNECT", "server_lifetime"])
async def test_a_pooler_that_closes_connections_while_files_are_applied(database: str, how: str) -> None:
    """Each file is applied once. A restart is reported as a lost connection, and never as a failure of the file."""
    rows = {f"{n:03}.sql": f"INSERT INTO {{{{tables.t}}}} VALUES ({n});\nSELECT pg_sleep(0.02);" for n in range(1, 40)}
    files = {"000.sql": "CREATE TABLE {{tables.t}} (n integer)", **rows}
    with controlled_pgbouncer(database) as pooler:
        if how == "server_lifetime":
            pooler.restart(server_lifetime="1")
        over = asyncio.Event()

        async def disturb() -> None:
            while not over.is_set():
                await asyncio.sleep(0.3)
                if how == "restart":
                    await asyncio.to_thread(pooler.restart)
                elif how == "RECONNECT":
                    await asyncio.to_thread(pooler.command, how)

        disturbing = asyncio.create_task(disturb())
        config = DatabaseConfig(
            connection_string=pooler.base + urlsplit(database).path,
            min_connections=0,
            max_connections=2,
            retry_attempts=20,
            retry_delay=0.05,
            retry_backoff=1.0,
            **POOLED,
        )
        lost = 0
        try:
            while True:
                async with asyncio.timeout(90), AsyncDatabaseManager(config.model_copy()) as db:
                    try:
                        manager = AsyncDatabaseManager(pool=db._pool, schema="app")
                        await AsyncMigrationManager(manager, files, "m").apply_pending_migrations()
                        break
                    except ConnectionError:
                        lost += 1
        finally:
            over.set()
            await disturbing
        assert how == "restart" or lost == 0
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT array_agg(n ORDER BY n) FROM app.t") == list(range(1, 40))
    await connection.close()
