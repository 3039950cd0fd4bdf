"""The time and memory that a manager takes, the time to import the library, and that of starting a process."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager

from .bench_service import running
from .databases import Databases, shared_pool, write_migrations
from .harness import race

if TYPE_CHECKING:
    from pathlib import Path

_MANAGERS = 10_000
_MOST_START_MS = 400


async def main(dsn: str, folder: Path, rounds: int) -> None:
    pool = await shared_pool(await Databases(dsn).fresh())
    connections = pool.get_size()
    began = time.perf_counter()
    kept = [AsyncDatabaseManager(pool=pool, schema=f"tenant_{number}") for number in range(_MANAGERS)]
    each = (time.perf_counter() - began) / _MANAGERS
    tracemalloc.start()
    kept += [AsyncDatabaseManager(pool=pool, schema=f"other_{number}") for number in range(_MANAGERS)]
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"\n{_MANAGERS:,} schema-bound managers on one pool")
    print(f"  each {each * 1e6:.2f} µs (at most 10)  {'ok' if each < 10e-6 else 'OVER'}")
    print(f"  together {memory / 2**20:.1f} MB (at most 50)  {'ok' if memory < 50 * 2**20 else 'OVER'}")
    print(f"  connections opened by them: {pool.get_size() - connections}")
    await pool.close()

    def importing(module: str) -> float:
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        # Compiled to bytecode, as after an installation: a checkout may not be.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        command = [sys.executable, "-c", code]
        return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)

    async def ours() -> float:
        return importing("pgdbm; pgdbm.AsyncDatabaseManager; pgdbm.AsyncMigrationManager")

    async def theirs() -> float:
        return importing("asyncpg")

    result = await race("import", {"pgdbm, with its managers": ours, "asyncpg": theirs}, rounds * 3)
    result.show()
    extra = [a - 1.2 * b for a, b in zip(*result.seconds.values(), strict=True)]
    middle = sorted(extra)[len(extra) // 2] * 1000
    print(f"  beyond 1.2 times asyncpg: {middle:.1f} ms  (at most 20)  {'ok' if middle <= 20 else 'OVER'}")
    await _command_line(rounds)
    repo = folder / "footprint"
    write_migrations(repo / "app", 25)
    await _service(await Databases(dsn).fresh(), repo, rounds)


async def _command_line(rounds: int) -> None:
    """Processor time, including that of children. Unlike elapsed time, it does not depend on other work on the
    machine."""

    def cpu(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)

    async def ours() -> float:
        return cpu("-m", "pgdbm.cli", "--help")

    async def bare() -> float:
        return cpu("-c", "pass")

    result = await race("CPU of a process", {"pgdbm --help": ours, "python -c pass": bare}, rounds * 2)
    result.show()
    extra = sorted(a - b for a, b in zip(*result.seconds.values(), strict=True))
    middle = extra[len(extra) // 2] * 1000
    print(f"  --help beyond Python's own start: {middle:.0f} ms  (at most 200)  {'ok' if middle <= 200 else 'OVER'}")


async def _service(dsn: str, repo: Path, rounds: int) -> None:
    """Processor time of a service until it is ready, which includes connecting and reading its repository."""
    variables = {"DATABASE_URL": dsn, "PGDBM_MIGRATIONS_REPO": str(repo), "PGDBM_LOG_LEVEL": "warning"}

    async def cpu(module: str) -> float:
        async with running("-m", module, **variables) as server:
            return server.cpu_s()

    names = ours, bare = "pgdbm_service", "bare Litestar"
    modules = "pgdbm_service", "tests.benchmarks.bare_service"
    candidates = {name: partial(cpu, module) for name, module in zip(names, modules, strict=True)}
    result = await race("CPU of a service, start to ready", candidates, rounds * 2)
    result.show()
    pairs = zip(result.seconds[ours], result.seconds[bare], strict=True)
    extra = statistics.median(a - b for a, b in pairs) * 1000
    verdict = "ok" if extra <= _MOST_START_MS else "OVER"
    print(f"  beyond the bare one: {extra:.0f} ms  (at most {_MOST_START_MS})  {verdict}")
