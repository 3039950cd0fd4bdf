"""The parts of a page that are sent again after a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import pytest

from pgdbm_service.dashboard import live
from pgdbm_service.dashboard.live import LivePages, Part, Parts, digest_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KEEP_ALIVE, ENDED, CLOSING = live._KEEP_ALIVE, live._ENDED, live._CLOSING


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_PAUSE_S", 0)


def parts(**texts: str) -> Parts:
    """A part for each name, whose text is its signature, too."""
    return {name: Part(text, text) for name, text in texts.items()}


def renderer(*renderings: Parts | None) -> Callable[[], Awaitable[Parts | None]]:
    left = list(renderings)

    async def render() -> Parts | None:
        return left.pop(0)

    return render


async def changes(*items: object | None) -> AsyncIterator[object | None]:
    for item in items:
        yield item


async def sent(
    changed: AsyncIterator[object | None], render: Callable[[], Awaitable[Parts | None]], seen: str = ""
) -> list[bytes]:
    async with asyncio.timeout(60):
        return [message async for message in LivePages()._events("page", changed, render, seen)]


def names_in(message: bytes) -> list[str]:
    """The ids of the parts in ``message``, in order."""
    return [piece.split('"')[0] for piece in message.decode().split('[id="')[1:]]


async def test_the_parts_are_sent_at_first_and_those_that_differ_after_each_change() -> None:
    render = renderer(parts(head="a", runs="b"), parts(head="a", runs="c"))
    first, second, last = await sent(changes("change"), render)
    assert names_in(first) == ["head", "runs"]
    assert names_in(second) == ["runs"]
    assert last == CLOSING


async def test_unchanged_parts_are_a_comment() -> None:
    same = parts(head="a")
    _, second, last = await sent(changes(None), renderer(same, same))
    assert (second, last) == (KEEP_ALIVE, CLOSING)


async def test_what_the_page_shows_already_is_not_sent() -> None:
    shown = parts(head="a")
    assert await sent(changes(), renderer(shown), digest_of(shown)) == [KEEP_ALIVE, CLOSING]


async def test_the_stream_ends_with_what_it_is_about() -> None:
    assert (await sent(changes("a", "b"), renderer(parts(head="a"), None)))[1:] == [ENDED]


async def test_a_part_within_a_changed_part_is_not_sent_on_its_own() -> None:
    def page(text: str) -> Parts:
        return {"runs": Part(text, text), "run": Part(text, text, "runs")}

    _, second, _ = await sent(changes("change"), renderer(page("a"), page("b")))
    assert names_in(second) == ["runs"]


async def test_a_change_during_the_first_rendering_is_not_missed() -> None:
    is_waiting, changed = asyncio.Event(), asyncio.Event()

    async def one_change() -> AsyncIterator[object]:
        is_waiting.set()
        await changed.wait()
        yield "change"

    async def render() -> Parts:
        await is_waiting.wait()
        changed.set()
        return parts(head="a")

    assert (await sent(one_change(), render))[1:] == [KEEP_ALIVE, CLOSING]


async def test_a_client_that_leaves_ends_the_wait_for_changes() -> None:
    was_closed = asyncio.Event()

    async def endless() -> AsyncIterator[object]:
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            was_closed.set()

    pages = LivePages()
    messages = pages._events("page", endless(), renderer(parts(head="a")), "")
    assert names_in(await anext(messages)) == ["head"]
    assert isinstance(messages, AsyncGenerator)
    await messages.aclose()
    async with asyncio.timeout(60):
        await was_closed.wait()
    assert pages._shared == {}


def test_the_digest_is_that_of_names_and_html() -> None:
    assert digest_of(parts(a="x", b="y")) == digest_of(parts(a="x", b="y"))
    digests = {digest_of(one) for one in (parts(a="x"), parts(a="y"), parts(b="x"), parts())}
    assert len(digests) == 4
