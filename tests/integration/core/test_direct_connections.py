"""The direct connection beside a pool, and the settings that it shares with the pool."""

from __future__ import annotations

import socket
import traceback
from io import BytesIO
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, ConfigurationError, ConnectionError, DatabaseConfig, PoolError
from pgdbm.core.connection import fetch_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Connect = Callable[[], AbstractAsyncContextManager[asyncpg.Connection[Any]]]

SECRET = "q7-open-sesame-q8"
SETTINGS = ("statement_timeout", "lock_timeout", "search_path", "application_name", "work_mem")


def configured(dsn: str, direct: str | None, **settings: Any) -> DatabaseConfig:
    few: dict[str, Any] = {"min_connections": 1, "max_connections": 2, "retry_delay": 0}
    return DatabaseConfig(connection_string=dsn, direct_connection_string=direct, **few | settings)


async def settings_of(connection: Any) -> dict[str, str]:
    return {name: await connection.fetchval("SELECT current_setting($1)", name) for name in SETTINGS}


@pytest.mark.parametrize("shared", [False, True])
async def test_it_has_the_settings_of_the_pool_except_the_timeouts(database: str, shared: bool) -> None:
    config = configured(
        database, database, schema="app", server_settings={"work_mem": "5MB"},
        init_commands=["CREATE TEMP TABLE made_by_init ()"],
    )  # fmt: skip
    pool = await AsyncDatabaseManager.create_shared_pool(config) if shared else None
    async with AsyncDatabaseManager(pool=pool, schema="app") if pool else AsyncDatabaseManager(config) as db:
        assert db.has_direct_connection
        async with db.acquire() as pooled, db.acquire_direct() as direct:
            assert await settings_of(direct) == await settings_of(pooled) | {"statement_timeout": "0"}
            assert await direct.fetchval("SELECT count(*) FROM made_by_init") == 0
            assert direct._config.command_timeout is None
            assert direct.get_server_pid() != pooled.get_server_pid()
    if pool:
        await pool.close()


async def test_settings_in_its_connection_string_win(database: str) -> None:
    direct = f"{database}?lock_timeout=7s&tcp_keepalives_idle=99&statement_timeout=1s"
    async with AsyncDatabaseManager(configured(database, direct)) as db, db.acquire_direct() as connection:
        assert await connection.fetchval("SHOW lock_timeout") == "7s"
        assert await connection.fetchval("SHOW tcp_keepalives_idle") == "99"
        assert await connection.fetchval("SHOW statement_timeout") == "0"


@pytest.mark.parametrize("failing", [False, True])
async def test_it_is_closed_after_the_block(database: str, connect: Connect, failing: bool) -> None:
    async with AsyncDatabaseManager(configured(database, database)) as db:
        try:
            async with db.acquire_direct() as direct:
                pid = direct.get_server_pid()
                await direct.execute("SELECT pg_advisory_lock(1)")
                assert not failing
        except AssertionError:
            assert failing
        assert direct.is_closed()
        async with connect() as connection:
            while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid):
                pass


async def test_without_a_direct_address_it_is_a_connection_of_the_pool(database: str) -> None:
    async with AsyncDatabaseManager(configured(database, None)) as db:
        assert not db.has_direct_connection
        async with db.acquire() as pooled:
            pid = pooled.get_server_pid()
        async with db.acquire_direct() as direct:
            assert direct.get_server_pid() == pid
    # A pool that pgdbm did not create has no config.
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        db = AsyncDatabaseManager(pool=pool)
        assert not db.has_direct_connection
        async with db.acquire_direct() as direct:
            assert await direct.fetchval("SELECT 1") == 1


async def test_a_manager_without_a_pool_refuses_it(database: str) -> None:
    db = AsyncDatabaseManager(configured(database, database))
    assert not db.has_direct_connection
    with pytest.raises(PoolError):
        async with db.acquire_direct():
            pass


async def test_an_unreachable_direct_address_is_a_connection_error(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        config = configured(database, f"postgresql://me:{SECRET}@127.0.0.1:{port}/direct", retry_attempts=2)
        async with AsyncDatabaseManager(config) as db:
            with pytest.raises(ConnectionError) as caught:
                async with db.acquire_direct():
                    pass
            details = caught.value.details
            assert (details["port"], details["database"], details["attempts"]) == (str(port), "direct", 2)
            assert await db.fetch_value("SELECT 1") == 1
    assert SECRET not in caplog.text + "".join(traceback.format_exception(caught.value))


async def test_an_invalid_direct_address_is_a_configuration_error(database: str) -> None:
    async with AsyncDatabaseManager(configured(database, f"postgresql://me:{SECRET}/@localhost/shop")) as db:
        with pytest.raises(ConfigurationError, match="Percent-encode") as caught:
            async with db.acquire_direct():
                pass
    assert caught.value.config_field == "direct_connection_string"
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_failing_init_command_is_a_configuration_error(database: str) -> None:
    # It succeeded on the pool's connection, so a second execution would violate the primary key.
    command = "INSERT INTO public.once VALUES (1)"
    async with AsyncDatabaseManager(configured(database, None)) as db:
        await db.execute("CREATE TABLE public.once (id int PRIMARY KEY)")
    config = configured(database, database, init_commands=[command])
    async with AsyncDatabaseManager(config) as db:
        with pytest.raises(ConfigurationError, match="command 1 failed"):
            async with db.acquire_direct():
                pass


@pytest.mark.parametrize("schema", ["order", "user", "default", "Mixed"])
async def test_any_schema_can_be_in_the_search_path_of_transactions(database: str, schema: str) -> None:
    async with AsyncDatabaseManager(configured(database, None, transaction_search_path=schema)) as db:
        assert await db.fetch_value("SHOW search_path") == f'"{schema}"'


async def test_a_query_that_is_not_kept_has_the_search_path_of_transactions(database: str) -> None:
    config = configured(database, None, transaction_search_path="order")
    async with AsyncDatabaseManager(config) as db, db.acquire() as connection:
        ((path,),) = await fetch_once(connection, "SELECT current_setting('search_path')")
    assert path == '"order"'


async def test_rows_are_copied_with_the_search_path_of_transactions(database: str) -> None:
    async with AsyncDatabaseManager(configured(database, database, transaction_search_path="app")) as db:
        await db.execute("CREATE SCHEMA app; CREATE TABLE app.t (id integer)")
        assert await db.copy_records_to_table("t", [(1,), (2,)]) == 2
        async with db.acquire() as connection:
            assert await connection.copy_to_table("t", source=BytesIO(b"3\n")) == "COPY 1"
            copied = BytesIO()
            await connection.copy_from_table("t", output=copied)
            await connection.copy_from_query("SELECT count(*) FROM t", output=copied)
            assert copied.getvalue() == b"1\n2\n3\n3\n"
