"""One connection with LISTEN for all channels of this process, replaced when it is lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from pgdbm.core.backoff import exponential
from pgdbm.core.tasks import cancel_and_wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import asyncpg

    from ..database.pool import Database

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_CHECK_EVERY_S = 10.0
_CHECK_TIMEOUT_S = 5.0

logger = structlog.get_logger("pgdbm_service")


class Notifier:
    """The connection is not taken from the pool, so it works even if the pool is behind a pooler.

    Notifications that are sent while there is no connection are lost. ``on_return`` callbacks are called after each
    reconnection: these read what was missed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._on_return: list[Callable[[], None]] = []
        self._listening: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.is_listening = False

    def subscribe(self, channel: str, callback: Callable[[str], None]) -> None:
        """Call ``callback`` with the payload of each notification on ``channel``."""
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
            await cancel_and_wait(self._listening)

    async def _listen(self) -> None:
        await self._database.connected.wait()
        pauses = exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while True:
            # A suspended database closes the connection. Connecting would resume it.
            await self._database.idle.until_active()
            try:
                async with self._connected() as (connection, ended):
                    pauses = exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
                    self.is_listening = True
                    for callback in self._on_return:
                        callback()
                    await self._until_ended(connection, ended)
            except Exception as error:
                logger.warning("not listening", error_type=type(error).__name__)
            finally:
                self.is_listening = False
            await asyncio.sleep(next(pauses))

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncpg.Connection[asyncpg.Record], asyncio.Event]]:
        ended = asyncio.Event()
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            connection = await self._database.open_connection()
        try:
            connection.add_termination_listener(lambda _: ended.set())
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await self._listen_on_all(connection)
            yield connection, ended
        finally:
            connection.terminate()

    async def _until_ended(self, connection: asyncpg.Connection[asyncpg.Record], ended: asyncio.Event) -> None:
        """Return when the connection has ended; raises if it does not answer."""
        while not ended.is_set():
            waiting = [asyncio.ensure_future(ended.wait()), asyncio.ensure_future(self._changed.wait())]
            try:
                await asyncio.wait(waiting, timeout=_CHECK_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waiting:
                    one.cancel()
            if not ended.is_set() and not self._database.idle.is_paused:
                async with asyncio.timeout(_CHECK_TIMEOUT_S):
                    await self._listen_on_all(connection)
                    await connection.execute("SELECT")

    async def _listen_on_all(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._changed.clear()
        # Others may be added while it waits; they set the event.
        for channel in tuple(self._callbacks):
            # asyncpg sends LISTEN only for the first listener of a channel, and ignores one that it already has.
            await connection.add_listener(channel, self._on_notification)

    def _on_notification(self, _: object, __: int, channel: str, payload: object) -> None:
        self._database.idle.note()
        for callback in tuple(self._callbacks.get(channel, ())):
            callback(str(payload))
