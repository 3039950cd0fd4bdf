"""A server that crashes loses commits that did not wait for the disk: never one that was reported."""

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

from pgdbm.embedded import EmbeddedPostgres
from pgdbm.testing.server import parent_folder

from .effort import SEED, dice, rounds
from .plans import ALL, CHEAP, MIXED, Torment
from .states import check_equal, history_of, migrate, opened_pool, undisturbed
from .victims import victims

if TYPE_CHECKING:
    from collections.abc import Iterator

# The WAL writer sleeps for as long as it may, so that what nobody waited for stays in memory for long.
_SETTINGS = {"wal_writer_delay": "10s", "max_connections": "50"}


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server that keeps its promises, on a port that stays the same when it starts again."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        tempfile.TemporaryDirectory(prefix="pgdbm-tests-", dir=parent_folder()) as folder,
        EmbeddedPostgres(Path(folder) / "data", port=port, settings=_SETTINGS) as started,
    ):
        yield started


def crash(server: EmbeddedPostgres) -> None:
    """As `pg_ctl stop -m immediate`, and start again: what was not in the log on disk is gone."""
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGQUIT)
    while server.running:
        time.sleep(0.002)
    server.start()


async def test_nothing_that_was_reported_is_lost(server: EmbeddedPostgres) -> None:
    chance = dice("crashes")
    dsn = server.dsn()
    wanted, seconds = {}, {}
    torments: tuple[Torment, ...] = (CHEAP, MIXED, CHEAP, ALL)
    async with victims(dsn) as crashed:
        async with opened_pool(dsn) as pool:
            for torment in {one.name: one for one in torments}.values():
                wanted[torment.name] = await undisturbed(pool, torment)
                (timed,) = await crashed.migrate(f"timed_{torment.name}", torment)
                seconds[torment.name] = timed["result"]["total_time_ms"] / 1000
        for number in range(rounds(4, 100)):
            torment = torments[number % len(torments)]
            after = chance.uniform(0, seconds[torment.name] * 1.2)
            schema, why = f"crash_{number}", f"seed {SEED}, {torment.name} after {after:.4f} s"
            await crashed.send(schema, torment, listens=chance.random() < 0.5)
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
                await migrate(pool, schema, torment)
                await check_equal(connection, schema, wanted[torment.name], why)
                await connection.execute(f"DROP SCHEMA {schema} CASCADE")
