"""The time limit of work with the database."""

from __future__ import annotations

import asyncio

import pytest

from pgdbm_service.database.pool import Database
from pgdbm_service.errors import ServiceError
from pgdbm_service.settings import Settings


def database(limit_s: float = 5.0) -> Database:
    return Database(Settings(database_url="postgresql://localhost/none", database_timeout_s=limit_s))


async def test_work_in_time() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return "result"

    assert await database().with_timeout(work()) == "result"


async def test_work_that_fails() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise KeyError("one")

    limited = database()
    with pytest.raises(KeyError):
        await limited.with_timeout(work())
    await limited.close()


async def test_work_that_is_late_is_cancelled_but_not_waited_for() -> None:
    cancelled, may_end = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
            await may_end.wait()

    limited = database(0.05)
    with pytest.raises(ServiceError) as raised:
        await limited.with_timeout(work())
    assert raised.value.code == "database_unavailable"
    await asyncio.sleep(0)
    assert cancelled.is_set()
    may_end.set()
    await asyncio.sleep(0.01)
    await limited.close()


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_caller_that_is_cancelled_cancels_the_work(turns: int) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    limited = database()
    calling = asyncio.create_task(limited.with_timeout(work()))
    for _ in range(turns):
        await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await asyncio.sleep(0.01)
    assert ended == ["cancelled"]
    await limited.close()
