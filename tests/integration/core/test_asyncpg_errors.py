"""Every error text of asyncpg, the server or PgBouncer that the code depends on is provoked: it may be reworded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm.core import asyncpg_errors
from pgdbm.core.asyncpg_errors import (
    is_alive,
    is_lost,
    is_pool_closed,
    is_worth_retrying,
    server_has_no_tls,
    unknown_setting,
    unqualified_table,
    without_value,
)

from ...support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Awaitable


async def error_of(work: Awaitable[Any]) -> Exception:
    with pytest.raises(Exception) as caught:
        await work
    return caught.value


async def test_a_closed_connection(database: str) -> None:
    connection = await asyncpg.connect(database)
    await connection.close()
    error = await error_of(connection.fetchval("SELECT 1"))
    assert asyncpg_errors._CONNECTION_CLOSED in str(error)
    assert is_lost(error)
    assert not is_alive(connection)


async def test_a_connection_that_was_released(database: str) -> None:
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        connection = await pool.acquire()
        await pool.release(connection)
        with pytest.raises(asyncpg.InterfaceError) as caught:
            await connection.fetchval("SELECT 1")
        assert asyncpg_errors._RELEASED in str(caught.value)
        assert is_lost(caught.value)
        assert not is_alive(connection)


async def test_a_session_that_ended_between_two_queries(database: str) -> None:
    connection = await asyncpg.connect(database)
    owner = await asyncpg.connect(database)
    try:
        await owner.execute(f"SELECT pg_terminate_backend({connection.get_server_pid()})")
        for _ in range(50):
            error = await error_of(connection.fetchval("SELECT pg_sleep(0.01)"))
            assert is_lost(error), error
    finally:
        await owner.close()


async def test_a_session_that_ended_while_idle_in_the_protocol(database: str) -> None:
    """asyncpg's protocol has read the end of the session, and its connection has not noticed yet."""
    connection = await asyncpg.connect(database)
    async with Proxy(database) as proxy:
        behind = await asyncpg.connect(proxy.dsn)
    error = await error_of(behind.fetchval("SELECT 1"))
    assert is_lost(error), repr(error)
    await connection.close()


async def test_a_connection_that_is_released_twice(database: str) -> None:
    """As in the pool, once it has noticed the end of the session."""
    async with asyncpg.create_pool(database, min_size=1, max_size=1) as pool:
        error = await error_of(pool._holders[0].release(None))
        assert asyncpg_errors._ENDED_BETWEEN_QUERIES[1] in str(error)
        assert is_lost(error)


def test_a_protocol_that_has_failed() -> None:
    """It depends on the timing of the event loop whether it is raised, so asyncpg's source is consulted."""
    source = Path(asyncpg.__file__).parent / "protocol" / "coreproto.pyx"
    words = asyncpg_errors._ENDED_BETWEEN_QUERIES[0]
    assert f"'{words} {{}}; '\n                    'protocol is in the \"failed\" state'" in source.read_text()
    assert is_lost(asyncpg.InternalClientError(f'{words} 3; protocol is in the "failed" state'))


async def test_a_pool_that_is_closed(database: str) -> None:
    pool = await asyncpg.create_pool(database, min_size=1, max_size=1)
    await pool.close()
    error = await error_of(pool.fetchval("SELECT 1"))
    assert is_pool_closed(error)
    assert not is_lost(error)
    assert is_pool_closed(await error_of(asyncpg.create_pool(database).fetchval("SELECT 1")))


async def test_a_server_without_tls(database: str) -> None:
    error = await error_of(asyncpg.connect(database, ssl="require"))
    assert server_has_no_tls(error)
    assert not is_worth_retrying(error)


async def test_a_setting_that_does_not_exist(database: str) -> None:
    error = await error_of(asyncpg.connect(database, server_settings={"no_such_setting": "1"}))
    assert unknown_setting(error) == "no_such_setting"


async def test_a_table_that_does_not_exist(database: str) -> None:
    connection = await asyncpg.connect(database)
    assert unqualified_table(await error_of(connection.fetch("SELECT FROM nowhere"))) == "nowhere"
    assert unqualified_table(await error_of(connection.fetch("SELECT FROM public.nowhere"))) is None
    await connection.close()


@pytest.mark.parametrize(
    ("cast", "given", "shown"),
    [
        ("int", "q7" * 15, "('str' object cannot be interpreted as an integer)"),
        ("text", ["q7" * 15], "(expected str, got list)"),
        ("int2", 10**30, "(value out of int16 range)"),
        ("date", "q7" * 15, "('str' object has no attribute 'toordinal')"),
    ],
)
async def test_a_parameter_that_cannot_be_encoded(database: str, cast: str, given: Any, shown: str) -> None:
    connection = await asyncpg.connect(database)
    error = await error_of(connection.fetchval(f"SELECT $1::{cast}", given))
    text = without_value(str(error))
    assert text == f"invalid input for query argument $1 {shown}"
    await connection.close()
