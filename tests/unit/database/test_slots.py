"""The limit on concurrent migrations, and their end when the service stops."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pgdbm_service.database.slots import Slots
from pgdbm_service.errors import ServiceError


def slots(limit: int = 2, wait_s: float = 0.05, grace_s: float = 0.05) -> Slots:
    return Slots(limit=limit, wait_s=wait_s, grace_s=grace_s)


async def hold(slots: Slots, module: str, until: asyncio.Event) -> None:
    async with slots.acquire(module):
        await until.wait()


async def holding(slots: Slots, *modules: str) -> tuple[asyncio.Event, list[asyncio.Task[None]]]:
    until = asyncio.Event()
    tasks = [asyncio.create_task(hold(slots, module, until)) for module in modules]
    while slots.migrating < len(modules):
        await asyncio.sleep(0)
    return until, tasks


async def test_no_more_than_the_limit_run_at_the_same_time() -> None:
    limited = slots(limit=2)
    until, tasks = await holding(limited, "a", "b")
    with pytest.raises(ServiceError, match="2 migrations are running") as caught:
        async with limited.acquire("c"):
            pass
    assert caught.value.code == "busy"
    until.set()
    await asyncio.gather(*tasks)
    async with limited.acquire("c"):
        assert limited.migrating == 1
    assert (limited.migrating, limited.waiting) == (0, 0)


async def test_one_module_is_migrated_once_at_a_time() -> None:
    limited = slots(limit=3)
    until, tasks = await holding(limited, "a")
    with pytest.raises(ServiceError) as caught:
        async with limited.acquire("a"):
            pass
    assert (caught.value.code, caught.value.fields["module"]) == ("lock_timeout", "a")
    until.set()
    await asyncio.gather(*tasks)
    async with limited.acquire("a"):
        pass


async def test_a_slot_that_is_freed_is_given_to_a_call_that_waits() -> None:
    limited = slots(limit=1, wait_s=5)
    until, tasks = await holding(limited, "a")
    waiting = asyncio.create_task(hold(limited, "b", until))
    while not limited.waiting:
        await asyncio.sleep(0)
    until.set()
    await asyncio.gather(waiting, *tasks)
    assert (limited.migrating, limited.waiting) == (0, 0)


async def test_work_continues_when_its_caller_is_cancelled() -> None:
    limited, done = slots(), asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.01)
        done.set()

    caller = asyncio.create_task(limited.run(work))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(done.wait(), 5)


async def test_the_result_and_the_error_of_work_reach_its_caller() -> None:
    async def succeed() -> int:
        return 7

    async def fail() -> None:
        raise ValueError("no")

    assert await slots().run(succeed) == 7
    with pytest.raises(ValueError, match="no"):
        await slots().run(fail)


async def test_a_shutdown_waits_for_running_work_and_accepts_no_more() -> None:
    limited = slots(grace_s=5)

    async def work() -> str:
        await asyncio.sleep(0.02)
        return "done"

    running = asyncio.create_task(limited.run(work))
    await asyncio.sleep(0)
    limited.begin_shutdown()
    assert limited.stopping
    with pytest.raises(ServiceError) as caught:
        await limited.run(work)
    assert caught.value.code == "shutting_down"
    await limited.close()
    assert await running == "done"


async def test_work_that_outlasts_the_grace_period_is_cancelled() -> None:
    limited = slots(grace_s=0.01)
    ended: list[Any] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    running = asyncio.create_task(limited.run(work))
    await asyncio.sleep(0)
    await limited.close()
    assert ended == [True]
    with pytest.raises(ServiceError) as caught:
        await running
    assert caught.value.code == "shutting_down"
