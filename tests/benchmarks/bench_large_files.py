"""Files with many statements, compared with psql: UPDATEs, 100,000 INSERTs of which the last fails, and memory.

UPDATEs are compared in CPU time of client and server. Elapsed, a round trip for each takes the more the busier the
machine is, while the few commits of pgdbm take the more the busier the disk is.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, MigrationExecutionError
from tests.support.peak_memory import peak_memory_of_migrate

from .databases import Databases, psql_binary, run_psql, shared_pool
from .harness import race, timed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_UPDATES = (30_000, 200_000)
_INSERTS = 100_000
_MEMORY_BYTES = 47_000_000
_MOST_OF_FILE = 4
_TABLE = "CREATE TABLE public.entry (id int PRIMARY KEY, note text);\n"
_CPU_OF_BACKEND = r"""SELECT pg_backend_pid() AS pid \gset
\setenv PID :pid
BEGIN;
{text}COMMIT;
\! cat /proc/$PID/schedstat
"""
_ENTRY = "CREATE TABLE {{tables.entry}} (id int PRIMARY KEY, note text);\n"
_INSERT = "INSERT INTO {{tables.entry}} (id, note) VALUES"


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    inserts = _TABLE + "".join(
        f"INSERT INTO public.entry (id, note) VALUES ({number}, 'entry {number}');\n" for number in range(1, _INSERTS)
    )
    inserts += "INSERT INTO public.entry (id, note) VALUES (1, 'again');\n"
    for count in _UPDATES:
        await _compare_updates(databases, folder, count, rounds)
    script = folder / "inserts.sql"
    script.write_text(inserts)
    result = await race(
        f"{_INSERTS:,} INSERTs, the last of which violates a key",
        {
            "pgdbm, with a listener": _pgdbm(databases, inserts, listens=True),
            "pgdbm": _pgdbm(databases, inserts, listens=False),
            "psql -1": _psql(databases, script),
        },
        rounds,
    )
    result.show(("pgdbm, with a listener", "psql -1", 1.5), ("pgdbm", "psql -1", 1.5))
    (folder / "none").mkdir()
    (folder / "none" / "1_entry.sql").write_text(_ENTRY)
    for command, size in (("apply", _MEMORY_BYTES), ("plan", _MEMORY_BYTES // 2)):
        target = await databases.fresh()
        base = await _peak_memory(target, folder / "none", command)
        _write_rows(folder / command, size, is_one=command == "plan")
        megabytes = await _peak_memory(target, folder / command, command) - base
        bound = _MOST_OF_FILE * size / 1e6
        what = "INSERTs" if command == "apply" else "one INSERT"
        print(f"\npgdbm migrate {command} of {size / 1e6:.0f} MB of {what}: {megabytes:.0f} MB of memory", end="")
        print(f"  (at most {bound:.0f})  {'ok' if megabytes <= bound else 'OVER'}")


async def _compare_updates(databases: Databases, folder: Path, count: int, rounds: int) -> None:
    text = _updates(count)
    script = folder / f"{count}_updates.sql"
    script.write_text(_CPU_OF_BACKEND.format(text=text))
    result = await race(
        f"{count:,} UPDATEs in one file: CPU time of client and server",
        {
            "pgdbm, with a listener": lambda: _cpu_of_pgdbm(databases, text, listens=True),
            "pgdbm": lambda: _cpu_of_pgdbm(databases, text, listens=False),
            "psql": lambda: _cpu_of_psql(databases, script),
        },
        rounds,
    )
    result.show(("pgdbm, with a listener", "psql", 0.5), ("pgdbm", "psql", 0.5))


async def _cpu_of_pgdbm(databases: Databases, text: str, *, listens: bool) -> float:
    pool = await shared_pool(await databases.fresh())
    db = AsyncDatabaseManager(pool=pool, schema="app")
    migrations = AsyncMigrationManager(db, {"1.sql": text}, "m", on_event=_ignore if listens else None)
    began = time.process_time()
    await migrations.apply_pending_migrations()
    client = time.process_time() - began
    backends = await pool.fetch("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    server = sum(_cpu_seconds(Path(f"/proc/{row['pid']}/schedstat").read_text()) for row in backends)
    await pool.close()
    return client + server


async def _cpu_of_psql(databases: Databases, script: Path) -> float:
    target = await databases.fresh()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(psql_binary(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", str(script)), stdout=pipe
    )
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"psql failed on {script}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    client = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return client + _cpu_seconds(printed.decode())


def _cpu_seconds(schedstat: str) -> float:
    return int(schedstat.split()[0]) / 1e9


def _updates(count: int) -> str:
    lines = [
        f"UPDATE public.entry SET note = 'entry {number}' WHERE id = {number};\n" for number in range(1, count + 1)
    ]
    return f"{_TABLE}INSERT INTO public.entry SELECT i, '' FROM generate_series(1, {count}) i;\n" + "".join(lines)


def _write_rows(folder: Path, size: int, *, is_one: bool) -> None:
    """A file of ``size`` bytes with an INSERT for each row, or one for all."""
    folder.mkdir()
    (folder / "1_entry.sql").write_text(_ENTRY)
    with (folder / "2_rows.sql").open("w") as file:
        length = file.write(f"{_INSERT}\n") if is_one else 0
        number = 0
        while length < size:
            number += 1
            row = f"({number}, '{'note ' * 20}')"
            length += file.write(f"{row},\n" if is_one else f"{_INSERT} {row};\n")
        if is_one:
            file.write("(0, '');\n")


async def _peak_memory(dsn: str, folder: Path, command: str) -> float:
    """Megabytes."""
    return await asyncio.to_thread(peak_memory_of_migrate, command, dsn, folder) / 1e6


def _pgdbm(databases: Databases, text: str, *, listens: bool) -> Callable[[], Awaitable[float]]:
    async def apply() -> float:
        pool = await shared_pool(await databases.fresh())
        db = AsyncDatabaseManager(pool=pool, schema="app")
        migrations = AsyncMigrationManager(db, {"1.sql": text}, "m", on_event=_ignore if listens else None)
        began = time.perf_counter()
        try:
            await migrations.apply_pending_migrations()
        except MigrationExecutionError as error:
            if error.statement != _INSERTS + 1:
                raise
        seconds = time.perf_counter() - began
        await pool.close()
        return seconds

    return apply


def _psql(databases: Databases, script: Path) -> Callable[[], Awaitable[float]]:
    async def apply() -> float:
        target = await databases.fresh()

        async def run() -> None:
            with contextlib.suppress(RuntimeError):
                await run_psql(target, script, "-1")

        return await timed(run)

    return apply


def _ignore(_: object) -> None:
    return None
