"""Backfills of one column against a hand-written keyset loop in psql, and how much a throttled one delays writers.

A large table is slower than a small one for both: its WAL does not fit into the files that are there, and is written to
disk in the same time. So pgdbm's slowdown is compared with that of the loop.
"""

from __future__ import annotations

import asyncio
import math
import re
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .databases import Databases, psql_binary, run_psql, shared_pool
from .harness import race

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgdbm.migrations.engine.events import Event

_SIZES = (10_000, 300_000, 3_000_000)
_LEAST = 0.9
_MOST_LATENCY = 1.25
_TIME = re.compile(r"Time: ([\d.]+) ms")
_WRITERS = 8
_WRITES_PER_S = 200
_PART_S = 15
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
    databases = Databases(dsn)
    loop = folder / "loop.sql"
    loop.write_text(_LOOP)
    names = "pgdbm", "a loop in psql"
    speeds: dict[str, dict[int, float]] = {name: {} for name in names}
    for size in _SIZES:
        template = await _template(databases, folder, size)
        few = rounds if size < _SIZES[-1] else max(1, rounds // 3)
        result = await race(
            f"A backfill of one column, {size:,} rows",
            {"pgdbm": _pgdbm(databases, template), "a loop in psql": _psql(databases, template, loop)},
            few,
        )
        result.show(("pgdbm", "a loop in psql", round(1 / _LEAST, 2)))
        for name in names:
            speeds[name][size] = size / statistics.median(result.seconds[name])
            print(f"  {name}: {speeds[name][size]:,.0f} rows a second")
    flat = {name: found[_SIZES[2]] / found[_SIZES[1]] for name, found in speeds.items()}
    print(f"\n{_SIZES[2]:,} rows / {_SIZES[1]:,} rows, in rows a second: ", end="")
    print(", ".join(f"{name} {ratio:.2f}" for name, ratio in flat.items()))
    ours = flat[names[0]] / flat[names[1]]
    print(f"  the first of the second: {ours:.2f}  (at least {_LEAST})  {'ok' if ours >= _LEAST else 'UNDER'}")
    await _latencies(databases, folder, rounds)


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
    """The 99th percentile of the latency of writers, in turns without and with a throttled backfill of their table."""
    rows = _SIZES[1]
    target = await databases.fresh(await _template(databases, folder, rows))
    script = folder / "write.sql"
    script.write_text(_WRITE.format(rows=rows))
    pool = await shared_pool(target)
    idle: list[float] = []
    busy: list[float] = []
    for number in range(rounds):
        idle.append(await _p99(target, script, folder / f"idle_{number}"))
        await pool.execute("DROP TABLE IF EXISTS app.schema_migrations, app.pgdbm_backfills, app.pgdbm_journal")
        migrations = _manager(pool, "target=20ms rate=4000 autovacuum=ignore")
        filling = asyncio.create_task(migrations.apply_pending_migrations())
        busy.append(await _p99(target, script, folder / f"busy_{number}"))
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
    await pool.close()
    ratio = sorted(ours / theirs for ours, theirs in zip(busy, idle, strict=True))[len(idle) // 2]
    print(f"\n{_WRITERS} writers, {_WRITES_PER_S} writes a second: 99th percentile in ms")
    print(f"  idle                 {', '.join(f'{one:.2f}' for one in idle)}")
    print(f"  throttled backfill   {', '.join(f'{one:.2f}' for one in busy)}")
    print(
        f"  median of the ratios: {ratio:.2f}  (at most {_MOST_LATENCY})  {'ok' if ratio <= _MOST_LATENCY else 'OVER'}"
    )


async def _p99(dsn: str, script: Path, logs: Path) -> float:
    """Milliseconds of the 99th percentile of pgbench's transactions."""
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
    found = sorted(
        (int(line.split()[2]) - int(line.split()[6])) / 1000
        for log in logs.iterdir()
        for line in log.read_text().splitlines()
    )
    return found[math.ceil(0.99 * len(found)) - 1]
