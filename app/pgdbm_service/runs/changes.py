"""Following all runs: one reader per process, for any number of followers."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import structlog

from pgdbm.core.tasks import cancel_and_wait

from ..database.failures import is_unavailable
from .streams import EVENTS_CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..api.overview import OverviewRun
    from .notifier import Notifier
    from .recent import RecentRuns

# Notifications that arrive within this time are read together.
_COLLECT_S = 0.2
_RETRY_S = 0.5
# A follower that lags behind by more batches is disconnected: it continues with what has changed since its last batch.
_LONGEST_QUEUE = 1000
# The clocks of replicas differ, and so do the times of a transaction's start and its commit.
_OVERLAP = timedelta(seconds=10)

logger = structlog.get_logger("pgdbm_service")


class Changed(NamedTuple):
    """Runs as they were at ``at``."""

    at: datetime
    runs: list[OverviewRun]


class RunChanges:
    """Passes changed runs to followers, in their new state. Changes may be merged: a follower sees the newest state of
    each run, but not every state in between.
    """

    def __init__(self, recent: RecentRuns, notifier: Notifier) -> None:
        self._recent = recent
        self._pending: set[UUID] = set()
        self._wake = asyncio.Event()
        self._followers: set[asyncio.Queue[Changed | None]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._missed = False
        notifier.subscribe(EVENTS_CHANNEL, self._notified)
        notifier.on_return(self._reconnected)

    def begin_shutdown(self) -> None:
        """End every follower's iteration."""
        self._stopping.set()
        for queue in self._followers:
            with contextlib.suppress(asyncio.QueueFull):
                queue.put_nowait(None)

    async def close(self) -> None:
        self.begin_shutdown()
        if self._reader is not None:
            await cancel_and_wait(self._reader)

    async def follow(self, since: datetime | None, idle_s: float) -> AsyncIterator[Changed | None]:
        """Batches of runs that changed: first what changed after ``since``, then what changes from now on.

        None after each ``idle_s`` seconds without a change. Ends when the service stops, or when the follower lags far
        behind.
        """
        queue: asyncio.Queue[Changed | None] = asyncio.Queue(_LONGEST_QUEUE)
        self._followers.add(queue)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read(), name="read runs that changed")
        try:
            if since is not None:
                at = datetime.now(UTC)
                yield Changed(at, await self._recent.changed_since(since - _OVERLAP))
            while queue in self._followers and not self._stopping.is_set():
                try:
                    async with asyncio.timeout(idle_s):
                        changed = await queue.get()
                except TimeoutError:
                    yield None
                else:
                    if changed is not None:
                        yield changed
        finally:
            self._followers.discard(queue)
            if not self._followers and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    async def _read(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_COLLECT_S)
            self._wake.clear()
            runs, self._pending = self._pending, set()
            missed, self._missed = self._missed, False
            at = datetime.now(UTC)
            try:
                if missed:
                    changed = await self._recent.changed_since(at - timedelta(minutes=1))
                else:
                    changed = await self._recent.changed(runs)
            except Exception as error:
                level = logger.debug if is_unavailable(error) else logger.error
                level("changed runs not read", error_type=type(error).__name__)
                self._pending |= runs
                self._missed = self._missed or missed
                self._wake.set()
                await asyncio.sleep(_RETRY_S)
                continue
            if changed:
                self._pass_on(Changed(at, changed))

    def _pass_on(self, changed: Changed) -> None:
        for queue in list(self._followers):
            try:
                queue.put_nowait(changed)
            except asyncio.QueueFull:
                self._followers.discard(queue)

    def _notified(self, payload: str) -> None:
        if self._followers:
            with contextlib.suppress(ValueError):
                self._pending.add(UUID(payload))
                self._wake.set()

    def _reconnected(self) -> None:
        """Notifications that were sent while there was no connection are lost."""
        if self._followers:
            self._missed = True
            self._wake.set()
