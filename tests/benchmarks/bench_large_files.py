"""Files with many statements, compared with psql: UPDATEs, 100,000 INSERTs of which the last fails, and memory.

pgdbm has a listener, as the command line and the service have.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, MigrationExecutionError

from .databases import Databases, run_psql, shared_pool
from .harness import race, timed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

_UPDATES = (30_000, 200_000)
_INSERTS = 100_000
_MEMORY_BYTES = 47_000_000
_MOST_OF_FILE = 4
_TABLE = "CREATE TABLE public.entry (id int PRIMARY KEY, note text);\n"
_ALONE = """
import asyncio, resource, sys
from pgdbm.cli import main

try:
    main(["migrate", "apply", "m", "--dir", sys.argv[2], "--database-url", sys.argv[1]])
except SystemExit as ended:
    assert not ended.code, ended
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    inserts = _TABLE + "".join(
        f"INSERT INTO public.entry (id, note) VALUES ({number}, 'entry {number}');\n" for number in range(1, _INSERTS)
    )
    inserts += "INSERT INTO public.entry (id, note) VALUES (1, 'again');\n"
    for title, name, text, bound in (
        *((f"{count:,} UPDATEs in one file", f"{count}_updates", _updates(count), 0.5) for count in _UPDATES),
        (f"{_INSERTS:,} INSERTs, the last of which violates a key", "inserts", inserts, 1.5),
    ):
        fails = name == "inserts"
        script = folder / f"{name}.sql"
        script.write_text(text)
        result = await race(
            title,
            {
                "pgdbm, with a listener": _pgdbm(databases, text, fails=fails, listens=True),
                "pgdbm": _pgdbm(databases, text, fails=fails, listens=False),
                "psql -1": _psql(databases, script, fails=fails),
            },
            rounds,
        )
        result.show(("pgdbm, with a listener", "psql -1", bound), ("pgdbm", "psql -1", bound))
    megabytes = await _peak_memory(await databases.fresh(), folder / "large")
    bound = _MOST_OF_FILE * _MEMORY_BYTES / 1e6
    print(
        f"\npgdbm migrate apply of a file of {_MEMORY_BYTES / 1e6:.0f} MB: at most {megabytes:.0f} MB of memory", end=""
    )
    print(f"  (at most {bound:.0f})  {'ok' if megabytes <= bound else 'OVER'}")


def _updates(count: int) -> str:
    lines = [
        f"UPDATE public.entry SET note = 'entry {number}' WHERE id = {number};\n" for number in range(1, count + 1)
    ]
    return f"{_TABLE}INSERT INTO public.entry SELECT i, '' FROM generate_series(1, {count}) i;\n" + "".join(lines)


async def _peak_memory(dsn: str, folder: Path) -> float:
    folder.mkdir()
    with (folder / "1_entry.sql").open("w") as file:
        length = file.write("CREATE TABLE {{tables.entry}} (id int PRIMARY KEY, note text);\n")
        number = 0
        while length < _MEMORY_BYTES:
            number += 1
            length += file.write(f"INSERT INTO {{{{tables.entry}}}} (id, note) VALUES ({number}, '{'note ' * 20}');\n")
    arguments = (sys.executable, "-c", _ALONE, dsn, str(folder))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.DEVNULL, stderr=pipe)
    _, printed = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"applying {folder} failed: {printed.decode()}")
    return int(printed.split()[-1]) * 1024 / 1e6


def _pgdbm(databases: Databases, text: str, *, fails: bool, listens: bool) -> Callable[[], Awaitable[float]]:
    async def apply() -> float:
        pool = await shared_pool(await databases.fresh())
        db = AsyncDatabaseManager(pool=pool, schema="app")
        migrations = AsyncMigrationManager(db, {"1.sql": text}, "m", on_event=_ignore if listens else None)
        began = time.perf_counter()
        try:
            await migrations.apply_pending_migrations()
        except MigrationExecutionError as error:
            if not fails or error.statement != _INSERTS + 1:
                raise
        seconds = time.perf_counter() - began
        await pool.close()
        return seconds

    return apply


def _psql(databases: Databases, script: Path, *, fails: bool) -> Callable[[], Awaitable[float]]:
    async def apply() -> float:
        target = await databases.fresh()

        async def run() -> None:
            with contextlib.suppress(RuntimeError) if fails else contextlib.nullcontext():
                await run_psql(target, script, "-1")

        return await timed(run)

    return apply


def _ignore(_: object) -> None:
    return None
