"""Tracks whether the service has something to do. While it is idle for a long time, a serverless database can be
suspended."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

logger = structlog.get_logger("pgdbm_service")


class Idle:
    """While :attr:`is_paused`, background work waits in :meth:`until_active` and sends no statements.

    ``after_s``: seconds without a request, a run or a notification before it may be paused; None: never.
    """

    def __init__(self, after_s: float | None) -> None:
        self.may_pause = after_s is not None
        self._after_s = after_s
        self._active = asyncio.Event()
        self._active.set()
        self._working = 0
        self._last = time.monotonic()

    @property
    def is_paused(self) -> bool:
        return not self._active.is_set()

    @property
    def is_due(self) -> bool:
        """Whether nothing has happened for long enough."""
        if self._after_s is None or self._working:
            return False
        return time.monotonic() - self._last >= self._after_s

    def pause(self) -> None:
        """Pause the background work."""
        if self._active.is_set():
            self._active.clear()
            logger.info("paused: nothing is sent to the database until there is something to do")

    def note(self) -> None:
        """Note that something has happened."""
        self._last = time.monotonic()
        if not self._active.is_set():
            self._active.set()
            logger.info("active again")

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """A block during which it is not idle."""
        self.note()
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._last = time.monotonic()

    async def until_active(self) -> None:
        """Return when it is not paused."""
        await self._active.wait()


async def answer(idle: Idle, read_missed: Callable[[], Awaitable[object]], call: Callable[[], Awaitable[None]]) -> None:
    """Answer a request with ``call``. If the service was paused, ``read_missed`` is called first to catch up."""
    was_paused = idle.is_paused
    with idle.working():
        if was_paused:
            # If the database is unavailable, the request itself reports it.
            with contextlib.suppress(Exception):
                await read_missed()
        await call()
