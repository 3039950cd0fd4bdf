"""A look that many share is one that began after each of them came."""

from __future__ import annotations

import asyncio

from pgdbm_service.shared_look import SharedLook


class Looks:
    """Each look answers its number, once it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()
        self.failure: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return number


async def asked(look: SharedLook[int], times: int) -> list[asyncio.Task[int]]:
    """Tasks that have asked, and wait; a look has begun if none was under way."""
    tasks = [asyncio.create_task(look()) for _ in range(times)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_who_comes_during_a_look_shares_the_next() -> None:
    looks = Looks()
    look = SharedLook(looks)
    first = await asked(look, 3)
    later = await asked(look, 5)
    assert looks.begun == 1
    looks.go.set()
    assert await asyncio.gather(*first) == [1, 1, 1]
    assert await asyncio.gather(*later) == [2] * 5
    assert await look() == 3


async def test_who_leaves_takes_it_from_nobody() -> None:
    looks = Looks()
    leaving, staying = await asked(SharedLook(looks), 2)
    leaving.cancel()
    looks.go.set()
    assert await staying == 1
    assert leaving.cancelled()


async def test_a_failure_is_everybodys_and_the_next_look_is_new() -> None:
    looks = Looks()
    look = SharedLook(looks)
    tasks = await asked(look, 2)
    looks.failure = ValueError("away")
    looks.go.set()
    assert [str(one) for one in await asyncio.gather(*tasks, return_exceptions=True)] == ["away", "away"]
    looks.failure = None
    assert await look() == 2
