"""A proxy that counts the round trips through it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from .dsn import through

if TYPE_CHECKING:
    from types import TracebackType


class CountingProxy:
    """Passes bytes between a client and the server, and counts how often the server sends after the client."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self.round_trips = 0
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
        return through(self._server.sockets[0].getsockname()[1], self._parts.geturl())

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
                self.round_trips += 1
            self._clients_turn = not clients
            target.write(data)
            await target.drain()
        target.close()
