"""Streams of the events of runs: one reader per run and process, however many clients follow it.

The rows are authoritative. A notification with the id of a run causes them to be read; polling every few seconds covers
lost notifications.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from pgdbm.core.tasks import cancel_and_wait

from ..database.failures import is_unavailable
from ..database.retrying import until_available
from ..errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from .notifier import Notifier
    from .queries import EventRow, Outcome, RunQueries

EVENTS_CHANNEL = "pgdbm_service_events"
"""The channel in the SQL statements that write events."""

_POLL_EVERY_S = 5.0
# By then, this replica usually processes a run that was just created, and need not read whether it has ended.
_FIRST_READ_AFTER_S = 0.02
_BATCH = 500
_KEPT = 2000

logger = structlog.get_logger("pgdbm_service")


class RunStream:
    """The newest events of one run. When there are more, ``changed`` is set and replaced by a new event.

    ``wanted`` is set while a follower needs the events, rather than only the end. ``is_over``: the run has ended, but
    its last events may not have been read; ``has_ended``: they have. ``outcome``: how it ended, if that has been read.
    """

    def __init__(self, newest: int, *, has_ended: bool) -> None:
        self.newest = newest
        self.has_ended = self.is_over = has_ended
        self.outcome: Outcome | None = None
        self.followers = 0
        self.listeners = 0
        self.wanted = asyncio.Event()
        self.changed = asyncio.Event()
        self.wake = asyncio.Event()
        self._kept: deque[EventRow] = deque(maxlen=_KEPT)
        self._kept_after = newest

    def add(self, events: Sequence[EventRow]) -> None:
        for event in events:
            if len(self._kept) == _KEPT:
                self._kept_after = self._kept[0].number
            self._kept.append(event)
            self.newest = event.number
            if event.kind == "run_ended":
                self.has_ended = self.is_over = True
        self.notify()

    def notify(self) -> None:
        """Wake up the followers."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def since(self, number: int) -> list[EventRow] | None:
        """The events after ``number``; None if they must be read from the table."""
        if number < self._kept_after:
            return None
        # From the end, because most followers have all but the newest, and a deque has no slices.
        newer = list(takewhile(lambda event: event.number > number, reversed(self._kept)))
        newer.reverse()
        return newer


class RunStreams:
    """The streams of the runs that are followed.

    ``until_idle`` returns when this replica is not processing a run, and whether it did: until then the run has not
    ended, and it is not read for followers that wait only for its end.
    """

    def __init__(self, queries: RunQueries, notifier: Notifier) -> None:
        self._queries = queries
        self._streams: dict[UUID, RunStream] = {}
        self._opening = asyncio.Lock()
        self._readers: dict[UUID, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self.until_idle: Callable[[UUID], Awaitable[bool]] = _immediately
        notifier.subscribe(EVENTS_CHANNEL, self._on_notification)
        notifier.on_return(self._wake_all)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def begin_shutdown(self) -> None:
        """End the streams."""
        self._stopping.set()
        for stream in self._streams.values():
            stream.notify()

    async def close(self) -> None:
        self.begin_shutdown()
        await cancel_and_wait(*self._readers.values())

    @contextlib.asynccontextmanager
    async def follow(self, run: UUID, *, for_end: bool = False) -> AsyncIterator[RunStream]:
        """The stream of ``run``, from its newest event on. ``for_end``: the follower waits only for its end.

        Raises:
            ServiceError: run_unknown, unless ``for_end``: a run that does not exist has ended.
        """
        async with self._opening:
            stream = self._streams.get(run)
            if stream is None:
                # Who waits for the end needs no event, and the reader's first read finds out whether it has ended.
                newest, has_ended = (0, False) if for_end else await self._queries.newest_event(run)
                stream = self._streams[run] = RunStream(newest, has_ended=has_ended)
                if not has_ended:
                    # The reader's first read finds the events since the query above.
                    stream.wake.set()
                    pause_s = _FIRST_READ_AFTER_S if for_end else 0.0
                    self._readers[run] = asyncio.create_task(self._read(run, stream, pause_s))
            stream.followers += 1
            if not for_end:
                stream.listeners += 1
                stream.wanted.set()
        try:
            yield stream
        finally:
            stream.followers -= 1
            if not for_end:
                stream.listeners -= 1
                if not stream.listeners:
                    stream.wanted.clear()
            if not stream.followers:
                del self._streams[run]
                reader = self._readers.pop(run, None)
                if reader is not None:
                    reader.cancel()

    async def events(self, run: UUID, after: int, idle_s: float) -> AsyncIterator[Sequence[EventRow]]:
        """The events after number ``after``, until the run or the service ends: those that are available, or an empty
        sequence after ``idle_s`` without any.

        Waits while the database is unavailable: the response has started and can no longer be an error.
        """
        async with contextlib.AsyncExitStack() as stack:
            stream = await until_available(lambda: stack.enter_async_context(self.follow(run)), self._stopping)
            number = after
            while True:
                changed = stream.changed
                events = stream.since(number)
                if events is None:
                    events = await until_available(partial(self._queries.events, run, number, _BATCH), self._stopping)
                if events:
                    number = events[-1].number
                    yield events
                    continue
                if stream.has_ended or self.stopping:
                    return
                try:
                    async with asyncio.timeout(idle_s):
                        await changed.wait()
                except TimeoutError:
                    yield ()

    async def outcome(self, run: UUID) -> Outcome:
        """How ``run`` ended. Waits while the database is unavailable, like :meth:`events`."""
        return await until_available(partial(self._queries.outcome, run), self._stopping)

    async def _read(self, run: UUID, stream: RunStream, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        failing = False
        while not stream.has_ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_EVERY_S):
                    await stream.wake.wait()
            was_processed = await self._until_needed(run, stream)
            stream.wake.clear()
            try:
                if stream.wanted.is_set():
                    while events := await self._queries.events(run, stream.newest, _BATCH):
                        stream.add(events)
                else:
                    await self._read_end(run, stream, was_processed=was_processed)
                failing = False
            except Exception as error:
                if not failing:
                    is_defect = not is_unavailable(error)
                    logger.warning("events not read", run_id=str(run), reason=str(error), exc_info=is_defect)
                failing = True

    async def _read_end(self, run: UUID, stream: RunStream, *, was_processed: bool) -> None:
        """Read whether the run has ended. If so, return when a follower needs its events.

        ``was_processed``: this replica has processed it until now, so it probably has, and its outcome is read.
        """
        outcome = None
        if was_processed:
            with contextlib.suppress(ServiceError):  # it was deleted
                outcome = await self._queries.outcome(run)
        if await self._queries.has_ended(run) if outcome is None else outcome.has_ended:
            stream.outcome = outcome
            stream.is_over = True
            stream.notify()
            await stream.wanted.wait()
            stream.wake.set()

    async def _until_needed(self, run: UUID, stream: RunStream) -> bool:
        """Return when a follower needs the events of ``run``, or it may have ended: then whether this replica has
        processed it."""
        if stream.wanted.is_set():
            return False
        idle = asyncio.ensure_future(self.until_idle(run))
        waiting = {idle, asyncio.ensure_future(stream.wanted.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return idle.done() and idle.result()
        finally:
            for one in waiting:
                one.cancel()

    def _on_notification(self, payload: str) -> None:
        try:
            stream = self._streams.get(UUID(payload))
        except ValueError:
            return
        if stream is not None:
            stream.wake.set()

    def _wake_all(self) -> None:
        for stream in self._streams.values():
            stream.wake.set()


async def _immediately(_: UUID) -> bool:
    return False


def as_data(event: EventRow) -> dict[str, Any]:
    """The data of a Server-Sent Event."""
    return event.data | {"at": event.at}
