"""Through PgBouncer in transaction mode, where every transaction may run on another connection of the server."""

from __future__ import annotations

import asyncio
import traceback
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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

from .pgbouncer import IGNORED, SERVER_CONNECTIONS, pgbouncer
from .processes import racers
from .test_races import TABLES, applied_counts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    import asyncpg

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

POOLED: dict[str, Any] = {"statement_cache_size": 0, "shared_pool_search_path": None}
"""What a config needs for a transaction pooler that drops the search_path."""


@pytest.fixture(scope="module")
def pooler(postgres_dsn: str) -> Iterator[str]:
    with pgbouncer(postgres_dsn, ignored=IGNORED) as base:
        yield base


@pytest.fixture
def pooled(pooler: str, database: str) -> str:
    """:func:`database` through the pooler."""
    return pooler + urlsplit(database).path


@asynccontextmanager
async def shared(dsn: str, **settings: Any) -> AsyncIterator[asyncpg.Pool[Any]]:
    few = {"min_connections": 1, "max_connections": 10}
    config = DatabaseConfig(connection_string=dsn, **few | POOLED | settings)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        yield pool
    finally:
        await pool.close()


class TestStartUp:
    async def test_settings_that_it_refuses(self, postgres_dsn: str, database: str) -> None:
        with pgbouncer(postgres_dsn, ignored="") as base:
            config = DatabaseConfig(connection_string=base + urlsplit(database).path, retry_delay=0)
            for connecting in (AsyncDatabaseManager.create_shared_pool, lambda c: AsyncDatabaseManager(c).connect()):
                with pytest.raises(ConnectionError, match="ignore_startup_parameters") as caught:
                    await connecting(config)
                assert caught.value.details["attempts"] == 1
                # Every setting that is refused is in the advice: what it names is all that the config sends.
                advised = str(caught.value).rpartition("ignore_startup_parameters = ")[2]
                assert all(name in advised for name in config.get_server_settings() if name != "application_name")
                assert "anything" not in "".join(traceback.format_exception(caught.value))

    async def test_a_search_path_that_it_drops(self, pooled: str) -> None:
        for wanted in ("pg_catalog", "app"):
            with pytest.raises(ConfigurationError, match="drops start-up settings") as caught:
                async with shared(pooled, shared_pool_search_path=wanted):
                    pass
            assert caught.value.config_field == "shared_pool_search_path"

    async def test_a_search_path_that_the_server_sets(self, pooled: str, connect: Connect) -> None:
        async with connect() as connection:
            await connection.execute(f'ALTER DATABASE "{urlsplit(pooled).path[1:]}" SET search_path = pg_catalog')
        async with shared(pooled, shared_pool_search_path="pg_catalog") as pool:
            for _ in range(2 * SERVER_CONNECTIONS):
                assert await pool.fetchval("SHOW search_path") == "pg_catalog"


async def test_queries_of_many_on_few_connections(pooled: str) -> None:
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
    # These are not cheap: they travel statement by statement, the others together.
    slow = {
        f"{number:03}.sql": (
            f"CREATE TABLE {{{{tables.t{number}}}}} AS SELECT generate_series(1, 50) AS id;\n"
            f"UPDATE {{{{tables.t{number}}}}} SET id = id + 1;\nSELECT pg_sleep(0.01);"
        )
        for number in range(1, 5)
    }
    rounds: list[tuple[dict[str, str], dict[str, Any]]] = [(TABLES, {}), (slow, {}), (slow, {"atomic": "all"})] * 3
    async with racers(pooled, 8, **POOLED) as runners, connect() as connection:
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


async def test_a_failure_has_its_place_while_others_are_in_the_way(pooled: str) -> None:
    """Each of many runs fails in another file, with few connections for all of them."""

    async def fail(pool: asyncpg.Pool[Any], number: int) -> None:
        schema = f"s{number}"
        db = AsyncDatabaseManager(pool=pool, schema=schema)
        files = {f"{n:03}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int);" for n in range(1, 41)}
        broken = f"{number + 5:03}.sql"
        # What the parser cannot know: with a position in the server's answer, and without one.
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

        noise = [asyncio.create_task(take_connections()) for _ in range(4)]
        try:
            await asyncio.gather(*(fail(pool, number) for number in range(8)))
        finally:
            stop.set()
            await asyncio.gather(*noise)


async def test_settings_of_a_file_do_not_stay_with_somebody_else(pooled: str) -> None:
    files = {
        f"{number:03}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} (id int);\nSET search_path = app;"
        for number in range(1, 3 * SERVER_CONNECTIONS)
    }
    async with shared(pooled) as pool, shared(pooled, max_connections=SERVER_CONNECTIONS) as other:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        stop = asyncio.Event()
        seen: set[str] = set()

        async def look() -> None:
            while not stop.is_set():
                seen.add(await other.fetchval("SELECT pg_catalog.current_setting('search_path')"))

        looking = [asyncio.create_task(look()) for _ in range(SERVER_CONNECTIONS)]
        try:
            await AsyncMigrationManager(db, files, "m").apply_pending_migrations()
        finally:
            stop.set()
            await asyncio.gather(*looking)
        assert seen == {'"$user", public'}


MIXED = {
    "001.sql": "CREATE TABLE {{tables.t}} (id int);",
    "002.sql": "-- pgdbm:no-transaction\nCREATE INDEX CONCURRENTLY t_id ON {{tables.t}} (id);",
    "003.sql": "ALTER TABLE {{tables.t}} ADD note text;",
}


class TestWithoutTransaction:
    async def test_it_is_refused(self, pooled: str) -> None:
        async with shared(pooled) as pool:
            db = AsyncDatabaseManager(pool=pool, schema="app")
            with pytest.raises(MigrationError, match="need a direct connection"):
                await AsyncMigrationManager(db, MIXED, "m").apply_pending_migrations()
            assert list(await AsyncMigrationManager(db, MIXED, "m").get_applied_migrations()) == ["001.sql"]

    async def test_it_goes_past_the_pooler(self, pooled: str, database: str, connect: Connect) -> None:
        direct = {"direct_connection_string": database}
        async with racers(pooled, 4, **POOLED, **direct) as runners, connect() as connection:
            for number in range(3):
                schema = f"round_{number}"
                answers = await asyncio.gather(*(runner.migrate(schema, MIXED) for runner in runners))
                assert applied_counts(answers) == dict.fromkeys(MIXED, 1), number
                assert await connection.fetchval(
                    "SELECT indisvalid FROM pg_index WHERE indexrelid = $1::regclass", f"{schema}.t_id"
                )


async def test_who_asks_for_the_backend_gets_one_that_stays(pooled: str, database: str) -> None:
    heard: list[int | None] = []
    files = {"001.sql": "CREATE TABLE {{tables.t}} AS SELECT pg_backend_pid() AS pid;"}
    async with shared(pooled, direct_connection_string=database) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        await AsyncMigrationManager(db, files, "m", on_backend=heard.append).apply_pending_migrations()
        assert heard == [await db.fetch_value("SELECT pid FROM {{tables.t}}"), None]


async def test_a_direct_connection_is_a_session_of_its_own(pooled: str, database: str) -> None:
    async with shared(pooled, direct_connection_string=database, server_settings={"work_mem": "5MB"}) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="app")
        async with db.acquire_direct() as direct, db.acquire() as through_the_pooler:
            assert await direct.fetchval("SELECT pg_backend_pid()") == direct.get_server_pid()
            assert await through_the_pooler.fetchval("SELECT pg_backend_pid()") != through_the_pooler.get_server_pid()
            # What the pooler drops gets there.
            assert await direct.fetchval("SHOW work_mem") == "5MB"
