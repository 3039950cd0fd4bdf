"""A TCP proxy in front of PostgreSQL, which behaves like poolers and failing networks."""

from __future__ import annotations

import asyncio
import struct
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from .dsn import through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

_PROTOCOL_3 = 3 << 16


class Proxy:
    """``async with Proxy(dsn, …) as proxy``: ``proxy.dsn`` leads through it to the server of ``dsn``.

    ``drops`` names start-up settings that do not get through. The first ``refuses`` connections are closed immediately.
    ``answers`` is what is sent, piece by piece, in place of what the server sends.
    """

    def __init__(
        self,
        dsn: str,
        *,
        drops: tuple[str, ...] = (),
        refuses: int = 0,
        answers: Callable[[bytes], Iterable[bytes]] = lambda sent: (sent,),
    ) -> None:
        self._parts = urlsplit(dsn)
        self._drops = {name.encode() for name in drops}
        self._refuses = refuses
        self._answers = answers
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self.dsn = ""
        self.accepted = 0

    async def __aenter__(self) -> Self:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._stack.push_async_callback(server.wait_closed)
        self._stack.callback(server.close)
        self.dsn = through(server.sockets[0].getsockname()[1], self._parts.geturl())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            if self.accepted > self._refuses:
                await self._connect(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start_up = await self._start_up(reader, writer)
        assert self._parts.port is not None
        to_server_reader, to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        try:
            to_server.write(start_up)
            await asyncio.wait(
                [
                    asyncio.ensure_future(_copy(reader, to_server)),
                    asyncio.ensure_future(_copy(to_server_reader, writer, self._answers)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            to_server.close()

    async def _start_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        """The client's start-up message without what is dropped; TLS is declined."""
        while True:
            (length,) = struct.unpack("!i", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code == _PROTOCOL_3:
                break
            writer.write(b"N")
        words = body[4:].rstrip(b"\0").split(b"\0")
        kept = b"".join(
            name + b"\0" + value + b"\0"
            for name, value in zip(words[::2], words[1::2], strict=True)
            if name not in self._drops
        )
        return struct.pack("!ii", len(kept) + 9, _PROTOCOL_3) + kept + b"\0"


async def _copy(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    changed: Callable[[bytes], Iterable[bytes]] = lambda sent: (sent,),
) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            for piece in changed(data):
                writer.write(piece)
                await writer.drain()
