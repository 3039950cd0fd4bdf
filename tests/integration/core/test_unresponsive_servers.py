"""Unresponsive servers: at the start, when the pool grows, and when they vanish."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, ConfigurationError, ConnectionError, DatabaseConfig

from ...support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

# Far longer than the tests take, and shorter than asyncpg's own limit of 60 s.
DEADLINE_S = 30


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where the kernel accepts connections that no process reads from."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("min_connections", [0, 1, 3])
@pytest.mark.parametrize("shared", [False, True])
async def test_an_attempt_to_connect_times_out_and_is_retried(
    silent_port: int, shared: bool, min_connections: int
) -> None:
    config = DatabaseConfig(
        connection_string=f"postgresql://me:q7-open-sesame@127.0.0.1:{silent_port}/shop",
        min_connections=min_connections, connect_timeout=0.05, retry_attempts=3, retry_delay=0,
    )  # fmt: skip
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ConnectionError, match=r"after 3 attempts: .*no answer within 0\.05 s") as caught:
            await (
                AsyncDatabaseManager.create_shared_pool(config) if shared else AsyncDatabaseManager(config).connect()
            )
    assert (caught.value.details["attempts"], caught.value.details["error_type"]) == (3, "TimeoutError")
    assert "sesame" not in str(caught.value)


class StopsAnswering(Proxy):
    """Serves its first connection; on the others it sends nothing."""

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.accepted > 1:
            await asyncio.Event().wait()
        await super()._connect(reader, writer)


async def test_a_new_connection_of_the_pool_times_out(database: str) -> None:
    async with StopsAnswering(database) as proxy:
        config = DatabaseConfig(
            connection_string=f"{proxy.dsn}?sslmode=disable",
            min_connections=1, max_connections=2, connect_timeout=0.25, retry_attempts=1,
        )  # fmt: skip
        async with AsyncDatabaseManager(config) as db, asyncio.timeout(DEADLINE_S):
            async with db.acquire():
                # Not a TimeoutError, which would mean that the query timed out.
                with pytest.raises(ConnectionError, match="no answer within"):
                    await db.fetch_value("SELECT 1", timeout=DEADLINE_S)
                with pytest.raises(ConnectionError, match="Cannot connect"):
                    async with db.acquire():
                        pass
            assert await db.fetch_value("SELECT 1") == 1


async def test_a_query_timeout_is_not_a_connection_error(database: str) -> None:
    async with AsyncDatabaseManager(DatabaseConfig(connection_string=database, min_connections=1)) as db:
        with pytest.raises(TimeoutError) as caught:
            await db.execute("SELECT pg_sleep(60)", timeout=0.05)
        assert caught.value.errno is None


def keepalive_of(connection: Any) -> dict[str, int]:
    """The options of ``connection``'s socket."""
    transport = connection._transport
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as own:
        found = {name: own.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in KEEPALIVE if name != "on"}
        return found | {"on": own.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)}


KEEPALIVE = {"on": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


async def check_keepalives(dsn: str) -> None:
    config = DatabaseConfig(
        connection_string=dsn, direct_connection_string=dsn, min_connections=1, max_connections=2, schema="app"
    )
    async with AsyncDatabaseManager(config) as db:
        async with db.acquire() as first, db.acquire() as second:
            assert keepalive_of(first) == keepalive_of(second) == KEEPALIVE
        async with db.acquire_direct() as direct:
            assert keepalive_of(direct) == KEEPALIVE
            # The server detects a lost client too, if there is no pooler in between.
            assert await direct.fetchval("SHOW tcp_keepalives_idle") == "30"
    shared = await AsyncDatabaseManager.create_shared_pool(config)
    async with AsyncDatabaseManager(pool=shared).acquire() as connection:
        assert keepalive_of(connection) == KEEPALIVE
    await shared.close()


async def test_tcp_keepalives_detect_a_vanished_server(database: str) -> None:
    await check_keepalives(database)


def test_tcp_keepalives_are_set_under_uvloop(database: str) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(check_keepalives(database))


async def test_a_unix_socket_gets_no_keepalives(database: str, tmp_path: Any) -> None:
    path = tmp_path / ".s.PGSQL.5432"
    parts = Proxy(database)._parts

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert parts.port is not None
        server_reader, server = await asyncio.open_connection(parts.hostname, parts.port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
            target.close()

        await asyncio.gather(copy(reader, server), copy(server_reader, writer))

    async with await asyncio.start_unix_server(serve, path):
        dsn = f"postgresql://{parts.username}:{parts.password or ''}@{parts.path}?host={tmp_path}"
        async with AsyncDatabaseManager(DatabaseConfig(connection_string=dsn, min_connections=1)) as db:
            assert await db.fetch_value("SELECT 1") == 1


async def test_a_keepalive_that_the_system_does_not_accept(database: str, connect: Any) -> None:
    name = f"refused_{uuid.uuid4().hex}"
    dsn = f"{database}?keepalives_idle=100000&application_name={name}"
    with pytest.raises(ConfigurationError, match="keepalives_idle=100000"):
        await AsyncDatabaseManager(DatabaseConfig(connection_string=dsn, retry_attempts=1)).connect()
    async with connect() as connection:
        open_connections = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        async with asyncio.timeout(20):
            while await connection.fetchval(open_connections, name):
                await asyncio.sleep(0.02)
