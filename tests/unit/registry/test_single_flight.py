"""Concurrent callers share a read that started after each of them called."""

from __future__ import annotations

import asyncio

from pgdbm_service.registry.single_flight import SingleFlight


class Reads:
    """Each read returns its number, once it is released."""

    def __init__(self) -> None:
        self.started = 0
        self.go = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self) -> int:
        self.started += 1
        number = self.started
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return number


async def called(flight: SingleFlight[int], times: int) -> list[asyncio.Task[int]]:
    """Tasks that wait for a read, which the first of them started if none was in progress."""
    tasks = [asyncio.create_task(flight()) for _ in range(times)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_a_caller_during_a_read_shares_the_next_one() -> None:
    reads = Reads()
    flight = SingleFlight(reads)
    first = await called(flight, 3)
    later = await called(flight, 5)
    assert reads.started == 1
    reads.go.set()
    assert await asyncio.gather(*first) == [1, 1, 1]
    assert await asyncio.gather(*later) == [2] * 5
    assert await flight() == 3


async def test_a_cancelled_caller_does_not_cancel_the_read_for_others() -> None:
    reads = Reads()
    leaving, staying = await called(SingleFlight(reads), 2)
    leaving.cancel()
    reads.go.set()
    assert await staying == 1
    assert leaving.cancelled()


async def test_a_failure_reaches_every_caller_and_the_next_read_is_new() -> None:
    reads = Reads()
    flight = SingleFlight(reads)
    tasks = await called(flight, 2)
    reads.failure = ValueError("away")
    reads.go.set()
    assert [str(one) for one in await asyncio.gather(*tasks, return_exceptions=True)] == ["away", "away"]
    reads.failure = None
    assert await flight() == 2
