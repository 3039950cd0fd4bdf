"""Backfills of one column against a hand-written keyset loop in psql, and how much a throttled one delays writers.

A large table is slower than a small one for both where the server makes checkpoints in between, or writes WAL into new
files, so the server has room for the WAL of a whole backfill. What remains is shown beside that of the loop: tables of
both sizes are filled in turns, so that a change of the machine's speed affects both.
"""

from __future__ import annotations

import asyncio
import math
import re
import statistics
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .databases import Databases, psql_binary, run_psql, shared_pool
from .harness import Result, race

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from pgdbm.migrations.engine.events import Event

    from .harness import Candidate

_SIZES = (10_000, 300_000, 3_000_000)
_SETTINGS = {"max_wal_size": "8GB", "min_wal_size": "4GB", "checkpoint_timeout": "30min"}
_OURS, _LOOP_NAME = "pgdbm", "a loop in psql"
_LEAST = 0.9
_MOST_LATENCY = 1.25
_TIME = re.compile(r"Time: ([\d.]+) ms")
_WRITERS = 8
_WRITES_PER_S = 200
_PART_S = 5
_PARTS = 3
_RATE = 4000
_TABLE = """
CREATE SCHEMA app;
CREATE TABLE app.orders (id bigint PRIMARY KEY, total int NOT NULL, cents bigint) WITH (autovacuum_enabled = false);
INSERT INTO app.orders (id, total) SELECT n, n % 1000 FROM generate_series(1, {rows}) AS n;
"""
_LOOP = """\\timing on
DO $$
DECLARE
    behind bigint := 0;
    upto bigint;
BEGIN
    LOOP
        SELECT max(id) INTO upto FROM (SELECT id FROM app.orders WHERE id > behind ORDER BY id LIMIT 5000) AS batch;
        EXIT WHEN upto IS NULL;
        UPDATE app.orders SET cents = total * 100 WHERE id > behind AND id <= upto;
        behind := upto;
        COMMIT;
    END LOOP;
END $$;
"""
_BACKFILL = """-- pgdbm:backfill table={{{{tables.orders}}}} key=id batch=5000 {options}
UPDATE {{{{tables.orders}}}} SET cents = total * 100 WHERE id BETWEEN $from AND $to;
"""
_WRITE = "\\set id random(1, {rows})\nUPDATE app.orders SET total = total + 1 WHERE id = :id;\n"


async def main(dsn: str, folder: Path, rounds: int) -> None:
    async with _settings(dsn):
        databases = Databases(dsn)
        loop = folder / "loop.sql"
        loop.write_text(_LOOP)
        candidates: dict[int, dict[str, Candidate]] = {}
        for size in _SIZES:
            template = await _template(databases, folder, size)
            candidates[size] = {_OURS: _pgdbm(databases, template), _LOOP_NAME: _psql(databases, template, loop)}
        small, middle, large = _SIZES
        for size in (small, middle):
            _show(size, await race(f"A backfill of one column, {size:,} rows", candidates[size], rounds))
        await _flatness(candidates[middle], candidates[large], max(1, rounds // 3))
        await _latencies(databases, folder, rounds)


@asynccontextmanager
async def _settings(dsn: str) -> AsyncIterator[None]:
    """The settings of a server that has room for the WAL."""
    print(f"\nBackfills, on a server with {', '.join(f'{name} = {value}' for name, value in _SETTINGS.items())}")
    connection: Any = await asyncpg.connect(dsn)
    try:
        for name, value in _SETTINGS.items():
            await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        await connection.execute("SELECT pg_reload_conf()")
        yield
    finally:
        for name in _SETTINGS:
            await connection.execute(f"ALTER SYSTEM RESET {name}")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()


def _show(size: int, result: Result) -> None:
    result.show((_OURS, _LOOP_NAME, round(1 / _LEAST, 2)))
    for name, seconds in result.seconds.items():
        print(f"  {name}: {size / statistics.median(seconds):,.0f} rows per second")


async def _flatness(middle: Mapping[str, Candidate], large: Mapping[str, Candidate], rounds: int) -> None:
    """Each round fills the large table between two of the other size, whose mean speed it is compared with."""
    result = Result(f"A backfill of one column, {_SIZES[2]:,} rows", {name: [] for name in large})
    ratios: dict[str, list[float]] = {name: [] for name in large}
    for number in range(rounds):
        for name in large if number % 2 else reversed([*large]):
            before = await middle[name]()
            seconds = await large[name]()
            after = await middle[name]()
            result.seconds[name].append(seconds)
            ratios[name].append(_SIZES[2] / seconds / (2 * _SIZES[1] / (before + after)))
    _show(_SIZES[2], result)
    flat = {name: statistics.median(found) for name, found in ratios.items()}
    print(f"\nRows a second with {_SIZES[2]:,} rows, of those with {_SIZES[1]:,}")
    print(f"  {_LOOP_NAME}: {flat[_LOOP_NAME]:.2f}")
    print(f"  {_OURS}: {flat[_OURS]:.2f}  (at least {_LEAST})  {'ok' if flat[_OURS] >= _LEAST else 'UNDER'}")
    print(f"  the second of the first: {flat[_OURS] / flat[_LOOP_NAME]:.2f}")


async def _template(databases: Databases, folder: Path, rows: int) -> str:
    made = await databases.fresh()
    script = folder / f"orders_{rows}.sql"
    script.write_text(_TABLE.format(rows=rows) + "VACUUM ANALYZE app.orders;\n")
    await run_psql(made, script)
    return made.rpartition("/")[2]


def _pgdbm(databases: Databases, template: str) -> Callable[[], Awaitable[float]]:
    async def apply() -> float:
        """The seconds that all batches of the statement took, as its event reports them."""
        pool = await shared_pool(await databases.fresh(template))
        events: list[Event] = []
        await _manager(pool, "autovacuum=ignore", events.append).apply_pending_migrations()
        await pool.close()
        (ended,) = (event for event in events if event.kind == "statement_ended")
        seconds: float = ended.details["execution_time_ms"] / 1000
        return seconds

    return apply


def _psql(databases: Databases, template: str, script: Path) -> Callable[[], Awaitable[float]]:
    async def apply() -> float:
        """The seconds that the statement took, as psql reports them."""
        target = await databases.fresh(template)
        process = await asyncio.create_subprocess_exec(
            *(psql_binary(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", str(script)),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        found = _TIME.search(printed.decode())
        if process.returncode or found is None:
            raise RuntimeError(f"psql failed on {script}")
        return float(found[1]) / 1000

    return apply


def _manager(pool: Any, options: str, on_event: Callable[[Event], None] | None = None) -> AsyncMigrationManager:
    db = AsyncDatabaseManager(pool=pool, schema="app")
    files = {"012_fill.sql": _BACKFILL.format(options=options)}
    return AsyncMigrationManager(db, files, "m", on_event=on_event)


async def _latencies(databases: Databases, folder: Path, rounds: int) -> None:
    """The 99th percentile of the latency of writers, in short turns with a throttled backfill of their table, and while
    it is paused."""
    turns = rounds * _PARTS
    rows = max(_SIZES[1], round(turns * _PART_S * _RATE * 1.5))
    target = await databases.fresh(await _template(databases, folder, rows))
    script = folder / "write.sql"
    script.write_text(_WRITE.format(rows=rows))
    pool = await shared_pool(target)
    migrations = _manager(pool, f"target=20ms rate={_RATE} autovacuum=ignore")
    await migrations.backfills.pause("012_fill")
    filling = asyncio.create_task(migrations.apply_pending_migrations())
    found: dict[str, list[list[float]]] = {"idle": [], "throttled backfill": []}
    for number in range(turns + 1):
        for name in found if number % 2 else reversed(found):
            is_busy = name != "idle"
            await (migrations.backfills.resume if is_busy else migrations.backfills.pause)("012_fill")
            # A backfill that is paused asks every two seconds whether it still is.
            await asyncio.sleep(2.5)
            before = await _walked(migrations)
            latencies = await _written(target, script, folder / f"{name.replace(' ', '_')}_{number}")
            if is_busy != (await _walked(migrations) > before):
                raise RuntimeError(f"the backfill {'did not work' if is_busy else 'worked'} in turn {number}")
            if number:
                found[name].append(latencies)
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
    await pool.close()
    print(
        f"\n{_WRITERS} writers, {_WRITES_PER_S} writes a second: 99th percentile in ms, of {turns} turns of {_PART_S} s"
    )
    for name, parts in found.items():
        each = ", ".join(f"{_p99(part):.2f}" for part in parts)
        print(f"  {name:20} {_p99([one for part in parts for one in part]):.2f}  ({each})")
    idle, busy = ([one for part in parts for one in part] for parts in found.values())
    ratio = _p99(busy) / _p99(idle)
    verdict = "ok" if ratio <= _MOST_LATENCY else "OVER"
    print(f"  the second of the first: {ratio:.2f}  (at most {_MOST_LATENCY})  {verdict}")
    in_turns = statistics.median(_p99(ours) / _p99(theirs) for theirs, ours in zip(*found.values(), strict=True))
    print(f"  median of the ratios of the turns: {in_turns:.2f}")


async def _walked(migrations: AsyncMigrationManager) -> int:
    (state,) = await migrations.backfills.states()
    return state.processed_rows


async def _written(dsn: str, script: Path, logs: Path) -> list[float]:
    """Milliseconds of each of pgbench's transactions."""
    logs.mkdir()
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        str(Path(psql_binary()).with_name("pgbench")),
        *("-n", "-c", str(_WRITERS), "-j", "2", "-T", str(_PART_S), "-R", str(_WRITES_PER_S)),
        *("-f", str(script), "-l", "--log-prefix", str(logs / "log"), dsn),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    if await process.wait():
        raise RuntimeError(f"pgbench failed after {time.monotonic() - began:.1f} s")
    # client, transaction, latency in microseconds, script, time, microseconds, lag behind the schedule
    return [
        (int(line.split()[2]) - int(line.split()[6])) / 1000
        for log in logs.iterdir()
        for line in log.read_text().splitlines()
    ]


def _p99(latencies: list[float]) -> float:
    return sorted(latencies)[math.ceil(0.99 * len(latencies)) - 1]
