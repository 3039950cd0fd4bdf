"""``python -m tests.torture.soak [--minutes 10]``: the service under a steady load; memory and connections do not grow.

Registers modules, migrates them, reads every list, follows runs and makes mistakes, for a given time. Exits
with 1 where the memory at the end is over what it was after the first fifth, or the pool exceeded its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import statistics
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from pgdbm.embedded import EmbeddedPostgres

from .replicas import Replica, replicas

_CLIENTS = 8
_SAMPLE_S = 2.0
# For memory: what an allocator keeps differs a little from one minute to the next.
_MOST_GROWTH = 1.10
_MOST_CONNECTIONS = 10 + 2
_READS = ("/modules", "/modules/m0", "/modules/m0/history", "/schemas", "/runs", "/health/ready", "/modules/none")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedPostgres(Path(folder) / "data", settings={"max_connections": "50"}) as server,
    ):
        return asyncio.run(soak(server.dsn(), Path(folder), minutes * 60))


async def soak(dsn: str, folder: Path, seconds: float) -> int:
    (folder / "repo").mkdir()
    until = time.monotonic() + seconds
    memory: list[float] = []
    connections: list[int] = []
    calls = count()
    async with (
        replicas(1, dsn, folder / "repo", folder, PGDBM_LOG_LEVEL="error") as (replica,),
        httpx2.AsyncClient(base_url=replica.url, timeout=60) as client,
    ):
        clients = [asyncio.create_task(_use(client, number, until, calls)) for number in range(_CLIENTS)]
        while time.monotonic() < until:
            await asyncio.sleep(_SAMPLE_S)
            memory.append(_megabytes(replica))
            connections.append(await _connections(dsn))
        await asyncio.gather(*clients)
    warm = len(memory) // 5
    early, late = statistics.median(memory[warm : 2 * warm + 1]), statistics.median(memory[-warm - 1 :])
    fine = late <= early * _MOST_GROWTH and max(connections) <= _MOST_CONNECTIONS
    print(f"{next(calls)} calls in {seconds / 60:.1f} minutes by {_CLIENTS} clients")
    print(f"memory: {early:.0f} MB after a fifth of the time, {late:.0f} MB at the end  (at most {_MOST_GROWTH} times)")
    print(f"connections: {min(connections)} to {max(connections)}  (at most {_MOST_CONNECTIONS})")
    print("flat" if fine else "NOT FLAT")
    return 0 if fine else 1


async def _use(client: httpx2.AsyncClient, number: int, until: float, calls: Any) -> None:
    module = f"m{number}"
    files: list[dict[str, str]] = []
    for turn in count(1):
        if time.monotonic() >= until:
            return
        # A module that is registered again from time to time, so that the registrations stay of one size.
        if turn % 50 == 1:
            module, files = f"m{number}" if turn == 1 else f"m{number}_{turn % 500}", []
        name = f"{len(files) + 1:03}_t.sql"
        files.append(
            {"filename": name, "content": f"CREATE TABLE IF NOT EXISTS {{{{tables.t{len(files)}}}}} (id int);"}
        )
        answers = [await client.put(f"/modules/{module}", json={"migrations": files})]
        answers.append(await client.post(f"/modules/{module}/migrate"))
        answers += [await client.get(path) for path in _READS]
        for answer in answers:
            next(calls)
            assert answer.status_code < 500, answer.text
        with contextlib.suppress(KeyError):
            async with client.stream("GET", f"/runs/{answers[1].json()['run_id']}/events") as events:
                assert events.status_code in (200, 404)
                await events.aread()


def _megabytes(replica: Replica) -> float:
    assert replica.process is not None
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{replica.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def _connections(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return found
    finally:
        await connection.close()


if __name__ == "__main__":
    sys.exit(main())
