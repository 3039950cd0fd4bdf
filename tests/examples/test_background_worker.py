from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from .conftest import Program, Programs

    Connect = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture
def folder(examples: Path) -> Path:
    return examples / "background_worker"


def start_worker(programs: Programs, folder: Path, *, work_s: float) -> Program:
    worker = programs.start(folder, "worker.py", WORK_S=str(work_s))
    worker.wait_for("Ready")
    return worker


async def states(connection: Any) -> Counter[str]:
    return Counter(row["state"] for row in await connection.fetch("SELECT state FROM worker.jobs"))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until ``condition`` is true."""
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


async def running(connection: Any) -> int:
    """How many jobs a worker holds."""
    waiting: int = await connection.fetchval("SELECT count(*) FROM worker.jobs WHERE state = 'waiting'")
    free = await connection.fetch("SELECT id FROM worker.jobs WHERE state = 'waiting' FOR UPDATE SKIP LOCKED")
    return waiting - len(free)


async def test_two_workers_do_each_job_once_and_give_up_on_a_bad_one(
    programs: Programs, folder: Path, connect: Connect
) -> None:
    workers = [start_worker(programs, folder, work_s=0.02) for _ in range(2)]
    customers = [f"customer-{number}" for number in range(20)]
    async with connect() as connection:
        await connection.execute("INSERT INTO worker.jobs (payload) VALUES ('{}')")
        programs.run(folder, "shop.py", *customers)

        async def settled() -> bool:
            return await states(connection) == {"done": len(customers), "failed": 1}

        await until(settled)
        bad, *jobs = await connection.fetch("SELECT attempts, outcome FROM worker.jobs ORDER BY id")
        assert tuple(bad) == (3, "KeyError('order')")
        assert {job["attempts"] for job in jobs} == {1}
        assert [job["outcome"] for job in jobs] == [
            f"Order {number} confirmed to {customer}" for number, customer in enumerate(customers, 1)
        ]
        tables = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('shop', 'worker', 'public') ORDER BY 1, 2"
        )
    assert [tuple(table) for table in tables] == [
        ("shop", "orders"),
        ("shop", "pgdbm_snapshots"),
        ("shop", "schema_migrations"),
        ("worker", "jobs"),
        ("worker", "pgdbm_snapshots"),
        ("worker", "schema_migrations"),
    ]
    for worker in workers:
        assert worker.stop() == 0, worker.output
        assert "Stopped" in worker.output


async def test_a_worker_that_is_stopped_finishes_its_job(programs: Programs, folder: Path, connect: Connect) -> None:
    worker = start_worker(programs, folder, work_s=0.3)
    programs.run(folder, "shop.py", *(["ada"] * 50))
    async with connect() as connection:

        async def at_work() -> bool:
            return await running(connection) > 0

        await until(at_work)
        assert worker.stop() == 0, worker.output
        after = await states(connection)
        assert after["done"] >= 1
        assert after["waiting"] >= 1
        assert await running(connection) == 0
    assert "Stopped" in worker.output


async def test_the_jobs_of_killed_workers_are_done_by_the_next(
    programs: Programs, folder: Path, connect: Connect
) -> None:
    killed = [start_worker(programs, folder, work_s=3600) for _ in range(2)]
    programs.run(folder, "shop.py", "ada", "grace")
    async with connect() as connection:

        async def both_at_work() -> bool:
            return await running(connection) == 2

        await until(both_at_work)
        for worker in killed:
            worker.kill()
        assert await states(connection) == {"waiting": 2}
        start_worker(programs, folder, work_s=0)

        async def done() -> bool:
            return await states(connection) == {"done": 2}

        await until(done)
