"""One connection that listens, for everything in this process that wants to hear; made again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..database import Database

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_CHECK_EVERY_S = 5.0
_CHECK_S = 5.0

logger = structlog.get_logger("pgdbm_service")


class Listener:
    """Beside the pool, so that listening takes no connection from it, and works where the pool is behind a pooler.

    What is sent while there is no connection is lost: whoever must not miss anything looks again when ``on_return``
    is called, which is each time that there is a connection again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._on_return: list[Callable[[], None]] = []
        self._listening: asyncio.Task[None] | None = None
        self._connection: Any = None
        self._changed = asyncio.Event()

    def subscribe(self, channel: str, callback: Callable[[str], None]) -> None:
        """From now on, or from when there is a connection, call ``callback`` with what is sent on ``channel``."""
        self._callbacks.setdefault(channel, []).append(callback)
        self._changed.set()

    def unsubscribe(self, channel: str, callback: Callable[[str], None]) -> None:
        self._callbacks.get(channel, []).remove(callback)

    def on_return(self, callback: Callable[[], None]) -> None:
        self._on_return.append(callback)

    def start(self) -> None:
        self._listening = asyncio.create_task(self._listen(), name="listen for notifications")

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self) -> None:
        await self._database.connected.wait()
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with self._connected() as (connection, ended):
                    pause = _FIRST_PAUSE_S
                    for tell in self._on_return:
                        tell()
                    await self._until_it_ends(connection, ended)
            except Exception as error:
                logger.warning("not listening", error_type=type(error).__name__, retry_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[Any, asyncio.Event]]:
        ended = asyncio.Event()
        async with asyncio.timeout(_CHECK_S):
            connection = await self._database.open_connection()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            async with asyncio.timeout(_CHECK_S):
                await self._listen_to_all(connection)
            yield connection, ended
        finally:
            connection.terminate()

    async def _until_it_ends(self, connection: Any, ended: asyncio.Event) -> None:
        """Return when the connection has ended, raise when it does not answer."""
        while not ended.is_set():
            waiting = [asyncio.ensure_future(ended.wait()), asyncio.ensure_future(self._changed.wait())]
            try:
                await asyncio.wait(waiting, timeout=_CHECK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waiting:
                    one.cancel()
            if not ended.is_set():
                async with asyncio.timeout(_CHECK_S):
                    await self._listen_to_all(connection)
                    await connection.execute("SELECT")

    async def _listen_to_all(self, connection: Any) -> None:
        self._changed.clear()
        for channel in self._callbacks:
            # asyncpg sends LISTEN for the first listener of a channel only, and passes over one that it has.
            await connection.add_listener(channel, self._hear)

    def _hear(self, _: Any, __: int, channel: str, payload: str) -> None:
        for callback in tuple(self._callbacks.get(channel, ())):
            callback(payload)
