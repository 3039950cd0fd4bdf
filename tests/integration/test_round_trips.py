"""How often the engine talks to the server, counted on the wire."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

if TYPE_CHECKING:
    from types import TracebackType


class CountingProxy:
    """Passes bytes between a client and the server, and counts how often the client's turn becomes the server's."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self.turns = 0
        self._clients_turn = True
        self._serving: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        await asyncio.gather(*self._serving)

    @property
    def dsn(self) -> str:
        port = self._server.sockets[0].getsockname()[1]
        user_info = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{user_info}@127.0.0.1:{port}"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        assert self._parts.hostname is not None
        self._serving.add(serving)
        upstream_reader, upstream_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        await asyncio.gather(
            self._pump(reader, upstream_writer, clients=True), self._pump(upstream_reader, writer, clients=False)
        )
        await asyncio.gather(writer.wait_closed(), upstream_writer.wait_closed(), return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, clients: bool) -> None:
        while data := await source.read(65536):
            if clients and self._clients_turn:
                self.turns += 1
            self._clients_turn = not clients
            target.write(data)
            await target.drain()
        target.close()


async def test_nothing_pending_takes_three_round_trips_at_most(database: str) -> None:
    files = {f"{n:04}.sql": "SELECT 1" for n in range(1, 1001)}
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "m")
        assert len((await migrations.apply_pending_migrations())["applied"]) == 1000
        for _ in range(3):
            before = proxy.turns
            assert (await migrations.apply_pending_migrations())["status"] == "up_to_date"
            assert 1 <= proxy.turns - before <= 3
        await pool.close()


async def test_cheap_files_travel_together(database: str) -> None:
    files = {f"{n:04}.sql": f"CREATE TABLE {{{{tables.t{n}}}}} (id int)" for n in range(1, 101)}
    async with CountingProxy(database) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
        pool = await AsyncDatabaseManager.create_shared_pool(config)
        db = AsyncDatabaseManager(pool=pool, schema="app")
        migrations = AsyncMigrationManager(db, files, "m", snapshots=False)
        before = proxy.turns
        assert len((await migrations.apply_pending_migrations())["applied"]) == 100
        assert proxy.turns - before < 25
        await pool.close()
