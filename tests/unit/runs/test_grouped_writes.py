"""Writes of one run share transactions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.database.failures import is_unavailable
from pgdbm_service.runs.grouped_writes import GroupedWrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm_service.runs.grouped_writes import Write


class Commits:
    """Answers each write with its parameter; one that is ``bad`` fails its transaction."""

    def __init__(self) -> None:
        self.groups: list[list[object]] = []
        self.may_end = asyncio.Event()

    async def commit(self, writes: Sequence[Write]) -> list[list[dict[str, Any]]]:
        self.groups.append([write.args[0] for write in writes])
        await self.may_end.wait()
        if any(write.args[0] == "bad" for write in writes):
            raise ValueError("bad")
        return [[{"value": write.args[0]}] for write in writes]


async def test_what_arrives_during_a_commit_is_committed_together() -> None:
    commits = Commits()
    writes = GroupedWrites(commits.commit)
    tasks = [asyncio.create_task(writes.rows("write", 0))]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(writes.rows("write", number)) for number in (1, 2, 3)]
    await asyncio.sleep(0.01)
    commits.may_end.set()
    assert await asyncio.gather(*tasks) == [[{"value": number}] for number in (0, 1, 2, 3)]
    assert commits.groups == [[0], [1, 2, 3]]
    assert writes.is_idle
    assert await writes.rows("write", 4) == [{"value": 4}]


async def test_a_write_that_fails_fails_alone() -> None:
    commits = Commits()
    writes = GroupedWrites(commits.commit)
    tasks = [asyncio.create_task(writes.rows("write", value)) for value in ("first", "bad", "last")]
    await asyncio.sleep(0.01)
    commits.may_end.set()
    first, bad, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == ([{"value": "first"}], [{"value": "last"}])
    assert isinstance(bad, ValueError)


async def test_a_write_that_is_no_longer_awaited_is_not_started() -> None:
    commits = Commits()
    writes = GroupedWrites(commits.commit)
    first = asyncio.create_task(writes.rows("write", "first"))
    await asyncio.sleep(0.01)
    cancelled, last = (asyncio.create_task(writes.rows("write", value)) for value in ("cancelled", "last"))
    await asyncio.sleep(0.01)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    commits.may_end.set()
    assert [await first, await last] == [[{"value": "first"}], [{"value": "last"}]]
    assert commits.groups == [["first"], ["last"]]


async def test_no_caller_waits_for_a_write_that_is_cancelled() -> None:
    may_end = asyncio.Event()

    async def commit(_: Sequence[Write]) -> list[list[dict[str, Any]]]:
        await may_end.wait()
        raise asyncio.CancelledError

    writes = GroupedWrites(commit)
    tasks = [asyncio.create_task(writes.rows("write", number)) for number in range(3)]
    await asyncio.sleep(0.01)
    may_end.set()
    async with asyncio.timeout(5):
        errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [ConnectionAbortedError] * 3
    assert all(is_unavailable(error) for error in errors if isinstance(error, Exception))
    assert writes.is_idle
