"""Live pages: Server-Sent Events with the parts of a page that have changed, as HTML that htmx swaps in.

A replica renders what pages show once per change, and encodes each message once, no matter how many pages are open.
"""

from __future__ import annotations

import asyncio
from collections import deque
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar.response import Stream

from ..database.failures import log_failure, service_error_of
from ..registry.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable

# Changes in quicker succession are shown together.
_PAUSE_S = 0.3
# The pause between two attempts to read what cannot be read at the moment.
_AGAIN_S = 2.0
_KEPT_MESSAGES = 16
_END = object()
_KEEP_ALIVE = b": keep-alive\n\n"
_ENDED = b"event: run:ended\ndata: ended\n\n"
_STALE = b"event: page:stale\ndata: stale\n\n"
_FRESH = b"event: page:fresh\ndata: fresh\n\n"
_CLOSING = b"event: closing\nretry: 1000\ndata: closing\n\n"
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Part(NamedTuple):
    """An element of a page that is replaced as a whole once ``signature`` changes.

    A part ``within`` another one is omitted from messages that contain the other.
    """

    html: str
    signature: object
    within: str | None = None


Parts = dict[str, Part]
"""By the element's id."""


class _Version(NamedTuple):
    number: int
    parts: Parts | None
    digest: str


class _Shared:
    """What several open pages show. One caller renders the newest version for all of them."""

    def __init__(self, render: Callable[[], Awaitable[Parts | None]]) -> None:
        self._render = render
        self._newest = _Version(0, None, "")
        self._messages: deque[tuple[tuple[int, int], bytes]] = deque(maxlen=_KEPT_MESSAGES)
        self.followers = 0
        self._is_failing = False
        self.read = SingleFlight(self._read)

    async def _read(self) -> _Version | None:
        """The newest version; None if it cannot be read at the moment, which is logged once."""
        try:
            parts = await self._render()
        except Exception as error:
            problem = service_error_of(error)
            if problem.kind.status == HTTPStatus.NOT_FOUND:
                # The page is reloaded and says so.
                parts = None
            else:
                if not self._is_failing:
                    log_failure(problem, error)
                self._is_failing = True
                return None
        self._is_failing = False
        if parts != self._newest.parts:
            self._newest = _Version(self._newest.number + 1, parts, digest_of(parts or {}))
        return self._newest

    def message(self, shown: _Version, fresh: _Version) -> bytes:
        key = (shown.number, fresh.number)
        for known, text in self._messages:
            if known == key:
                return text
        text = _message(shown.parts or {}, fresh.parts or {})
        self._messages.append((key, text))
        return text


class LivePages:
    """The streams of this replica's open pages."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, _Shared] = {}

    def follow(
        self,
        key: Hashable,
        changes: AsyncIterator[object],
        render: Callable[[], Awaitable[Parts | None]],
        seen: str = "",
    ) -> Stream:
        """A stream of the changed parts among those that ``render`` returns, until it returns None.

        ``key`` identifies what is shown, and to whom: followers with the same key share one rendering. ``seen`` is the
        digest of what the page already shows. Whatever ``changes`` yields, the parts are rendered: if nothing has
        changed for a while, the times on the page are refreshed. While nothing can be read, an event reports that the
        page is stale.
        """
        events = self._events(key, changes, render, seen)
        return Stream(events, media_type="text/event-stream", headers=_HEADERS)

    async def _events(
        self,
        key: Hashable,
        changes: AsyncIterator[object],
        render: Callable[[], Awaitable[Parts | None]],
        seen: str,
    ) -> AsyncIterator[bytes]:
        shared = self._shared.setdefault(key, _Shared(render))
        shared.followers += 1
        # Start waiting before the first rendering, so that no change in between is missed.
        change: asyncio.Future[Any] = asyncio.ensure_future(anext(changes, _END))
        shown: _Version | None = None
        is_stale = False
        try:
            while True:
                fresh = await shared.read()
                if fresh is None:
                    # The page says so. Ending the stream would make each open page connect again and again.
                    yield _STALE
                    is_stale = True
                    await asyncio.sleep(_AGAIN_S)
                    if not change.done():
                        continue
                    if change.result() is _END:
                        yield _CLOSING
                        return
                    change = asyncio.ensure_future(anext(changes, _END))
                    continue
                if is_stale:
                    yield _FRESH
                    is_stale = False
                if fresh.parts is None:
                    yield _ENDED
                    return
                if shown is None:
                    nothing = _Version(0, None, "")
                    yield _KEEP_ALIVE if fresh.digest == seen else shared.message(nothing, fresh)
                else:
                    yield _KEEP_ALIVE if fresh.number == shown.number else shared.message(shown, fresh)
                shown = fresh
                if await change is _END:
                    yield _CLOSING
                    return
                change = asyncio.ensure_future(anext(changes, _END))
                await asyncio.sleep(_PAUSE_S)
        finally:
            change.cancel()
            await asyncio.gather(change, return_exceptions=True)
            shared.followers -= 1
            if not shared.followers and self._shared.get(key) is shared:
                del self._shared[key]


def digest_of(parts: Parts) -> str:
    """Identifies what ``parts`` show."""
    text = "\0".join(f"{name}\0{part.html}" for name, part in parts.items())
    return sha256(text.encode()).hexdigest()[:16]


def _message(shown: Parts, fresh: Parts) -> bytes:
    """The parts of ``fresh`` that differ from those in ``shown``."""
    changed = {name for name, part in fresh.items() if name not in shown or shown[name].signature != part.signature}
    drawn = []
    for name, part in fresh.items():
        if name in changed and part.within not in changed:
            drawn.append(f'<hx-partial hx-target=\'[id="{name}"]\' hx-swap="outerMorph">{part.html}</hx-partial>')
    lines = "\n".join(drawn).split("\n")
    return ("".join(f"data: {line}\n" for line in lines) + "\n").encode() if drawn else _KEEP_ALIVE
