"""Followers of all runs that read slower than runs change."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from pgdbm_service.runs import changes
from pgdbm_service.runs.changes import RunChanges

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


async def test_a_follower_that_lags_is_ended_and_others_miss_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_LONGEST_QUEUE", 3)
    monkeypatch.setattr(changes, "_COLLECT_S", 0)
    notified: list[Callable[[str], None]] = []
    notifier = SimpleNamespace(subscribe=lambda _, function: notified.append(function), on_return=lambda _: None)

    async def changed(runs: set[Any]) -> list[Any]:
        return sorted(runs)

    followed = RunChanges(cast("Any", SimpleNamespace(changed=changed)), cast("Any", notifier))
    slow, fast = followed.follow(None, 5), followed.follow(None, 5)
    try:
        ids = [uuid4() for _ in range(6)]
        first_of_slow = asyncio.ensure_future(anext(slow))
        received = []
        for one in ids:
            next_of_fast = asyncio.ensure_future(anext(fast))
            await asyncio.sleep(0)
            notified[0](str(one))
            received.append(await next_of_fast)
        first = await first_of_slow
        assert first is not None
        assert first.runs == ids[:1]
        # It continues with another stream, after the last that it received.
        assert [batch.runs for batch in [one async for one in slow] if batch is not None] in ([], [ids[1:2]])
        assert [batch.runs for batch in received if batch is not None] == [[one] for one in ids]
    finally:
        await followed.close()
