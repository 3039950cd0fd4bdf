"""Several hosts in one connection string, some of them down, unresponsive, or of the wrong role."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from pgdbm import AsyncDatabaseManager, ConnectionError, DatabaseConfig
from pgdbm.dsn import parse_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[tuple[str, list[Any]]]:
    """``host:port`` of a socket that accepts connections and never answers, like a hanging machine; and its
    connections."""
    accepted: list[Any] = []
    server = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", accepted
    finally:
        for writer in accepted:
            writer.close()
        server.close()
        await server.wait_closed()


def among(dsn: str, *before: str, wanted: str = "primary") -> str:
    """``dsn``, with hosts that are tried before its own."""
    parts = urlsplit(dsn)
    user_info, _, own = parts.netloc.rpartition("@")
    hosts = ",".join((*before, own))
    return urlunsplit(parts._replace(netloc=f"{user_info}@{hosts}", query=f"target_session_attrs={wanted}"))


async def test_an_unresponsive_host_leaves_time_for_the_others(database: str) -> None:
    async with silent() as (host, accepted):
        config = DatabaseConfig(
            connection_string=among(database, host), min_connections=0, connect_timeout=3, retry_attempts=1
        )
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        try:
            tried = len(accepted)
            assert tried
            async with pool.acquire() as one, pool.acquire() as other:
                assert await one.fetchval("SELECT 1") == await other.fetchval("SELECT 1")
            # The host where the leader was found is tried first.
            assert len(accepted) == tried
        finally:
            await pool.close()


async def test_an_unreachable_host_is_skipped(database: str) -> None:
    with contextlib.closing(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await server.wait_closed()
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=among(database, host), min_connections=1)) as db:
        assert await db.fetch_value("SELECT 1") == 1


async def test_no_host_with_the_wanted_attributes_is_a_connection_error(database: str) -> None:
    own = urlsplit(database).netloc.rpartition("@")[2]
    config = DatabaseConfig(connection_string=among(database, own, wanted="standby"), retry_attempts=2, retry_delay=0)
    with pytest.raises(ConnectionError, match="a failover may be in progress") as caught:
        await AsyncDatabaseManager(config).connect()
    assert caught.value.details["attempts"] == 2


async def test_a_primary_that_became_read_only_is_a_connection_error(database: str) -> None:
    """The state between the end of a leader and the promotion of its standby."""
    own = urlsplit(database).netloc.rpartition("@")[2]
    config = DatabaseConfig(connection_string=among(database, own, wanted="read-write"), min_connections=1)
    async with AsyncDatabaseManager(config) as db:
        await db.execute(f"ALTER DATABASE {urlsplit(database).path[1:]} SET default_transaction_read_only = on")
        for connection in [await db.pool.acquire()]:
            connection.terminate()
            await db.pool.release(connection)
        with pytest.raises(ConnectionError):
            await db.fetch_value("SELECT 1")
        with pytest.raises(ConnectionError, match="a failover may be in progress"):
            async with db.acquire():
                pass


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        ("a:1,b", (("a", 1), ("b", 5432))),
        ("me:se%40cret@a,[::1]:7", (("a", 5432), ("::1", 7))),
        ("%2Frun%2Fpg:1,b:2", (("/run/pg", 1), ("b", 2))),
        ("a:1", (("a", 1),)),
        ("", ()),
    ],
)
def test_the_hosts_of_a_connection_string(hosts: str, found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPORT", raising=False)
    assert parse_dsn(f"postgresql://{hosts}/shop?x=1,2").hosts == found
