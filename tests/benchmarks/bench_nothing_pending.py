"""Nothing pending with 1,000 applied: the first call of a process, and later ones, against the bare query.

The command line is measured in CPU time, beyond that of a process that imports its packages, connects, and queries.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from ..support.counting_proxy import CountingProxy
from .databases import BARE_COMMAND, Databases, shared_pool, write_migrations
from .harness import Result, race, timed

if TYPE_CHECKING:
    from pathlib import Path

_COUNT = 1000
_MOST_ROUND_TRIPS = 3
_MOST_CPU_MS = 40
_FIRST_CALL = """
import asyncio, json, sys, time
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

async def main(dsn, folder):
    config = DatabaseConfig(connection_string=dsn, min_connections=1, max_connections=2)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    began = time.perf_counter()
    migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), folder, "app")
    result = await migrations.apply_pending_migrations()
    seconds = time.perf_counter() - began
    await pool.close()
    print(json.dumps([result["status"], seconds]))

asyncio.run(main(*sys.argv[1:]))
"""


async def main(dsn: str, folder: Path, rounds: int) -> None:
    files = folder / f"migrations_{_COUNT}"
    write_migrations(files, _COUNT)
    target = await Databases(dsn).fresh()
    pool = await shared_pool(target)
    db = AsyncDatabaseManager(pool=pool, schema="app")
    migrations = AsyncMigrationManager(db, files, "app")
    await migrations.apply_pending_migrations()
    await db.execute("ANALYZE app.schema_migrations")

    async def first_call() -> float:
        answer = subprocess.run(
            [sys.executable, "-c", _FIRST_CALL, target, str(files)], check=True, capture_output=True, text=True
        ).stdout
        status, seconds = json.loads(answer)
        assert status == "up_to_date"
        return float(seconds)

    async def later_call() -> float:
        return await timed(AsyncMigrationManager(db, files, "app").apply_pending_migrations)

    async def bare_query() -> float:
        return await timed(
            lambda: pool.fetch("SELECT filename, checksum FROM app.schema_migrations WHERE module_name = $1", "app")
        )

    result = await race(
        "Nothing pending, 1,000 applied",
        {
            "first call of a process": first_call,
            "later call": later_call,
            "bare query": bare_query,
        },
        rounds * 4,
    )
    result.show()
    _bound(result, "first call of a process", 60)
    _bound(result, "later call", 5)
    await pool.close()
    await _command(target, files, rounds)
    await _round_trips(target, {path.name: path.read_text() for path in files.iterdir()})


async def _command(dsn: str, files: Path, rounds: int) -> None:
    arguments = ("migrate", "apply", "app", "--schema", "app", "--dir", str(files), "--database-url", dsn)
    command, bare = "pgdbm migrate apply", "connecting and a query"
    result = await race(
        "Nothing pending, 1,000 applied: CPU time of a whole process",
        {
            command: lambda: _cpu_seconds("-m", "pgdbm.cli", *arguments),
            bare: lambda: _cpu_seconds("-c", BARE_COMMAND, dsn),
        },
        rounds * 4,
    )
    result.show()
    pairs = zip(result.seconds[command], result.seconds[bare], strict=True)
    extra = statistics.median(ours - theirs for ours, theirs in pairs) * 1000
    print(f"  {command} - {bare}: {extra:.0f} ms  (at most {_MOST_CPU_MS})  {_verdict(extra <= _MOST_CPU_MS)}")


async def _cpu_seconds(*arguments: str) -> float:
    """The CPU time, user and system, of a Python process with ``arguments``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def _round_trips(dsn: str, files: dict[str, str]) -> None:
    async with CountingProxy(dsn) as proxy:
        pool = await shared_pool(proxy.dsn)
        migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "app")
        before = proxy.round_trips
        await migrations.apply_pending_migrations()
        count = proxy.round_trips - before
        await pool.close()
    print(f"  round trips of a call: {count}  (at most {_MOST_ROUND_TRIPS})  {_verdict(count <= _MOST_ROUND_TRIPS)}")


def _verdict(ok: bool) -> str:
    return "ok" if ok else "OVER"


def _bound(result: Result, name: str, milliseconds: float) -> None:
    best = sorted(result.seconds[name])[len(result.seconds[name]) // 2] * 1000
    print(f"  {name}: {best:.2f} ms  (at most {milliseconds})  {_verdict(best <= milliseconds)}")
