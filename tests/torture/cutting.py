"""A proxy in front of PostgreSQL that cuts a connection at one message of the protocol, before it or after it."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from tests.support.dsn import through

if TYPE_CHECKING:
    from types import TracebackType

_PROTOCOL_3 = 3 << 16

Side = Literal["before", "after"]


class CuttingProxy:
    """``arm(5, "after")``: the fifth message of a client from now on reaches the server, but its answer is lost.

    ``before``: it does not reach the server either. Messages are counted over all connections, in ``messages``; after
    the cut, connections pass through unchanged.
    """

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._cut_at: int | None = None
        self._side: Side = "before"
        self._tasks: set[asyncio.Task[None]] = set()
        self.messages = 0
        self.was_cut = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def dsn(self) -> str:
        return through(self._server.sockets[0].getsockname()[1], self._parts.geturl())

    def arm(self, cut_at: int | None, side: Side = "before") -> None:
        """Count from here; None only counts."""
        self.messages, self._cut_at, self._side, self.was_cut = 0, cut_at, side, False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await asyncio.open_connection(self._parts.hostname, self._parts.port)
            back = asyncio.create_task(_copy(from_server, writer))
            forth = asyncio.create_task(self._count(reader, to_server, back))
            done, rest = await asyncio.wait((back, forth), return_when=asyncio.FIRST_COMPLETED)
            for one in rest:
                one.cancel()
            await asyncio.gather(*done, *rest, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, to_server):
                if end is not None:
                    end.close()
            self._tasks.discard(task)

    async def _count(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, back: asyncio.Task[None]
    ) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            code = None
            while code != _PROTOCOL_3:  # what comes before asks whether there is TLS
                head = await reader.readexactly(8)
                length, code = struct.unpack("!ii", head)
                to_server.write(head + await reader.readexactly(length - 8))
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)
                self.messages += 1
                cut = not self.was_cut and self.messages == self._cut_at
                if cut:
                    self.was_cut = True
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                if not cut or self._side == "after":
                    to_server.write(head + body)
                    await to_server.drain()
                if cut:
                    return


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
