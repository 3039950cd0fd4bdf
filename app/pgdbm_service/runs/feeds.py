"""Following runs: one reader per run and process, however many follow it.

Rows are the truth. A notification carries a run's id and means: look. Where one was lost, a look every few seconds
finds what it was about.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import structlog

from ..errors import is_database_away
from .statements import EVENTS_CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from .listening import Listener
    from .reading import EventRow, Reader

T = TypeVar("T")

_LOOK_EVERY_S = 5.0
_PAUSE_S = 0.2
_AT_ONCE = 500
_TAIL = 2000

logger = structlog.get_logger("pgdbm_service")


class Feed:
    """What happens to one run from now on. ``changed`` is set, and replaced, when there is more."""

    def __init__(self, newest: int, *, has_ended: bool) -> None:
        self.newest = newest
        self.has_ended = has_ended
        self.followers = 0
        self.changed = asyncio.Event()
        self.wake = asyncio.Event()
        self._tail: deque[EventRow] = deque(maxlen=_TAIL)
        self._before = newest

    def add(self, events: Sequence[EventRow]) -> None:
        for event in events:
            if len(self._tail) == _TAIL:
                self._before = self._tail[0].number
            self._tail.append(event)
            self.newest = event.number
            self.has_ended = self.has_ended or event.kind == "run_ended"
        self.tell()

    def tell(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def since(self, number: int) -> list[EventRow] | None:
        """The events after ``number``; None where they are to be read from the table."""
        if number < self._before:
            return None
        skip = max(0, len(self._tail) - (self.newest - number))
        return [event for position, event in enumerate(self._tail) if position >= skip]


class Feeds:
    """The feeds of the runs that somebody follows."""

    def __init__(self, reader: Reader, listener: Listener) -> None:
        self._reader = reader
        self._feeds: dict[UUID, Feed] = {}
        self._opening = asyncio.Lock()
        self._readers: dict[UUID, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        listener.subscribe(EVENTS_CHANNEL, self._notified)
        listener.on_return(self._wake_all)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def begin_shutdown(self) -> None:
        """Whoever follows is to be told that it ends."""
        self._stopping.set()
        for feed in self._feeds.values():
            feed.tell()

    async def close(self) -> None:
        self.begin_shutdown()
        readers = list(self._readers.values())
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def follow(self, run: UUID) -> AsyncIterator[Feed]:
        """The feed of ``run``: what it has now, and from now on.

        Raises:
            Problem: run_unknown.
        """
        async with self._opening:
            feed = self._feeds.get(run)
            if feed is None:
                newest, has_ended = await self._reader.newest_event(run)
                feed = self._feeds[run] = Feed(newest, has_ended=has_ended)
                if not has_ended:
                    # What came between the look and this line is found by the first look of the reader.
                    feed.wake.set()
                    self._readers[run] = asyncio.create_task(self._read_on(run, feed))
            feed.followers += 1
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                del self._feeds[run]
                reader = self._readers.pop(run, None)
                if reader is not None:
                    reader.cancel()

    async def events(self, run: UUID, after: int, idle_s: float) -> AsyncIterator[EventRow | None]:
        """The events after number ``after``, up to the end of the run or of the service. None: nothing for a while."""
        async with contextlib.AsyncExitStack() as stack:
            feed = await self._patiently(lambda: stack.enter_async_context(self.follow(run)))
            number = after
            while True:
                changed = feed.changed
                events = feed.since(number)
                if events is None:
                    events = await self._patiently(partial(self._reader.events, run, number, _AT_ONCE))
                for event in events:
                    number = event.number
                    yield event
                if events:
                    continue
                if feed.has_ended or self.stopping:
                    return
                try:
                    async with asyncio.timeout(idle_s):
                        await changed.wait()
                except TimeoutError:
                    yield None

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` answers, once the database does: a stream that has begun can say no more that there is none."""
        while True:
            try:
                return await ask()
            except Exception as error:
                if self.stopping or not is_database_away(error):
                    raise
            await asyncio.sleep(_PAUSE_S)

    async def _read_on(self, run: UUID, feed: Feed) -> None:
        while not feed.has_ended:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await feed.wake.wait()
            feed.wake.clear()
            try:
                while events := await self._reader.events(run, feed.newest, _AT_ONCE):
                    feed.add(events)
            except Exception as error:
                logger.debug("events not read", run_id=str(run), error_type=type(error).__name__)

    def _notified(self, payload: str) -> None:
        try:
            feed = self._feeds.get(UUID(payload))
        except ValueError:
            return
        if feed is not None:
            feed.wake.set()

    def _wake_all(self) -> None:
        for feed in self._feeds.values():
            feed.wake.set()


def as_data(event: EventRow) -> dict[str, Any]:
    """What a listener gets as the data of an event."""
    return event.data | {"at": event.at}
