"""Background tasks end, even if a cancellation is lost."""

from __future__ import annotations

import asyncio
import contextlib

from pgdbm.core.tasks import cancel_and_wait


async def test_a_lost_cancellation_is_repeated() -> None:
    started = asyncio.Event()
    polls = 0

    async def poll() -> None:
        nonlocal polls
        while True:
            started.set()
            with contextlib.suppress(ConnectionError):
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    polls += 1
                    if polls == 1:
                        raise ConnectionResetError from None
                    raise

    task = asyncio.create_task(poll())
    await started.wait()
    await cancel_and_wait(task)
    assert task.cancelled()
    assert polls == 2


async def test_tasks_that_have_failed_or_ended_are_fine() -> None:
    async def fail() -> None:
        raise ConnectionResetError

    tasks = [asyncio.create_task(fail()), asyncio.create_task(asyncio.sleep(0)), asyncio.create_task(asyncio.sleep(60))]
    await asyncio.wait(tasks[:2])
    await cancel_and_wait(*tasks)
    assert [task.cancelled() for task in tasks] == [False, False, True]
    await cancel_and_wait()
