"""A server that crashes loses only asynchronous commits, and none that was reported."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pgdbm
from pgdbm.embedded import EmbeddedPostgres
from pgdbm.testing.server import parent_folder

from .effort import SEED, rounds, seeded_random
from .plans import ALL, BATCHABLE, MIXED, MigrationPlan
from .states import check_equal, history_of, migrate, opened_pool, undisturbed
from .victims import victims

if TYPE_CHECKING:
    from collections.abc import Iterator

# The WAL writer sleeps as long as possible, so that commits that were not waited for stay in memory.
_LONGEST_END_S = 60
_SETTINGS = {"wal_writer_delay": "10s", "max_connections": "50"}


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server with durable commits, on a port that stays the same when it starts again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        tempfile.TemporaryDirectory(prefix="pgdbm-tests-", dir=parent_folder()) as folder,
        EmbeddedPostgres(Path(folder) / "data", port=port, settings=_SETTINGS) as started,
    ):
        yield started


def crash(server: EmbeddedPostgres, number: int = signal.SIGQUIT) -> None:
    """Like `pg_ctl stop -m immediate`, and a start: what was not in the WAL on disk is lost.

    ``number`` SIGKILL: its backends notice the end of the postmaster only when they wait for something.
    """
    pid = server.pid
    assert pid is not None
    os.kill(pid, number)
    while server.running:
        time.sleep(0.002)
    until = time.monotonic() + _LONGEST_END_S
    while True:
        try:
            server.start()
        except pgdbm.ConnectionError:
            # A backend still uses the shared memory of the one that was killed.
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


async def test_no_reported_migration_is_lost_in_a_crash(server: EmbeddedPostgres) -> None:
    rng = seeded_random("crashes")
    dsn = server.dsn()
    wanted, seconds = {}, {}
    plans: tuple[MigrationPlan, ...] = (BATCHABLE, MIXED, BATCHABLE, ALL)
    async with victims(dsn) as crashed:
        async with opened_pool(dsn) as pool:
            for plan in {one.name: one for one in plans}.values():
                wanted[plan.name] = await undisturbed(pool, plan)
                (timed,) = await crashed.migrate(f"timed_{plan.name}", plan)
                seconds[plan.name] = timed["result"]["total_time_ms"] / 1000
        for number in range(rounds(4, 100)):
            plan = plans[number % len(plans)]
            after = rng.uniform(0, seconds[plan.name] * 1.2)
            schema, why = f"crash_{number}", f"seed {SEED}, {plan.name} after {after:.4f} s"
            await crashed.send(schema, plan, listens=rng.random() < 0.5)
            await asyncio.sleep(after)
            await asyncio.to_thread(crash, server)
            (answer,) = await crashed.answers()
            assert answer["signal"] is None, why
            assert answer.get("error") in (None, "ConnectionError", "InternalClientError"), (why, answer)
            if "result" in answer:
                reported = [one["filename"] for one in answer["result"]["applied"]]
            else:
                reported = answer["details"]["applied"]
            reported += [name for kind, name, _ in answer["events"] if kind == "migration_ended"]
            async with opened_pool(dsn) as pool, pool.acquire() as connection:
                kept = await history_of(connection, schema)
                assert set(reported) <= set(kept), (why, answer)
                await migrate(pool, schema, plan)
                await check_equal(connection, schema, wanted[plan.name], why)
                await connection.execute(f"DROP SCHEMA {schema} CASCADE")
