"""Applying N migrations, compared with psql, with the bare SQL in one message, and with dbmate."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .databases import (
    Databases,
    dbmate_binary,
    dbmate_migrations,
    ddl,
    insert,
    psql_scripts,
    run_dbmate,
    run_psql,
    shared_pool,
    write_migrations,
)
from .harness import Candidate, race, timed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from pgdbm.migrations.engine.engine import Atomic

# (number of files, what each is, its SQL, the limit as a share of psql's time, and of the floor's if there is one)
_KINDS: tuple[tuple[int, str, Callable[[int], str], float, float | None], ...] = (
    (100, "a table and two indexes each", ddl, 0.8, 1.5),
    (1000, "a table and two indexes each", ddl, 0.8, 1.3),
    (10_000, "one insert each", insert, 0.6, None),
)
_ALL_OF_FLOOR = 1.3
_WITH_LISTENER = 0.8
_MOST_MB = 120
_ALONE = """
import asyncio, resource, sys
from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

async def main(dsn, folder):
    config = DatabaseConfig(connection_string=dsn, schema="app", min_connections=1, max_connections=2)
    async with AsyncDatabaseManager(config) as db:
        await AsyncMigrationManager(db, folder, "app").apply_pending_migrations()

asyncio.run(main(*sys.argv[1:]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    per_migration = {}
    for count, what, body, of_psql, of_floor in _KINDS:
        files = folder / f"migrations_{count}"
        plain = write_migrations(files, count, body)
        same_work, bare = psql_scripts(folder, plain)

        def pgdbm(
            atomic: Atomic, *, listens: bool = False, files: Path = files, count: int = count
        ) -> Callable[[], Awaitable[float]]:
            async def apply() -> float:
                pool = await shared_pool(await databases.fresh())
                db = AsyncDatabaseManager(pool=pool, schema="app")
                migrations = AsyncMigrationManager(db, files, "app", on_event=_ignore if listens else None)
                seconds = await timed(lambda: migrations.apply_pending_migrations(atomic=atomic))
                assert len(await migrations.history(count + 1)) == count
                await pool.close()
                return seconds

            return apply

        async def psql(script: Path = same_work) -> float:
            target = await databases.fresh()
            return await timed(lambda: run_psql(target, script))

        async def floor(script: Path = bare) -> float:
            target = await databases.fresh()
            return await timed(lambda: run_psql(target, script, "-1"))

        candidates: dict[str, Candidate] = {
            "pgdbm": pgdbm("file"),
            "pgdbm, with a listener": pgdbm("file", listens=True),
            "pgdbm, atomic=all": pgdbm("all"),
            "psql, same work": psql,
            "psql -1, bare SQL": floor,
        }
        program = dbmate_binary()
        if program is not None:
            theirs = dbmate_migrations(folder / f"dbmate_{count}", plain)
            candidates["dbmate"] = partial(_dbmate, databases, program, theirs)
        turns = rounds if count < 10_000 else max(1, rounds // 2)
        result = await race(f"{count} migrations, {what}", candidates, turns)
        claims = [
            ("pgdbm", "psql, same work", of_psql),
            ("pgdbm, with a listener", "psql, same work", _WITH_LISTENER),
            ("pgdbm, atomic=all", "psql -1, bare SQL", _ALL_OF_FLOOR),
        ]
        if of_floor is not None:
            claims.append(("pgdbm", "psql -1, bare SQL", of_floor))
        if program is not None:
            claims.append(("pgdbm", "dbmate", 1.0))
        result.show(*claims)
        if program is None:
            print("  dbmate is not installed: it was left out")
        megabytes = await _peak_memory(await databases.fresh(), files)
        verdict = "ok" if megabytes <= _MOST_MB else "OVER"
        print(f"  peak memory of a process that does it: {megabytes:.0f} MB  (at most {_MOST_MB})  {verdict}")
        per_migration[count] = min(result.seconds["pgdbm"]) / count
    print(f"\n  per migration, 1000 against 100: {per_migration[1000] / per_migration[100]:.2f} times (linear is 1)")


def _ignore(_: object) -> None:
    return None


async def _dbmate(databases: Databases, program: str, folder: Path) -> float:
    target = await databases.fresh()
    return await timed(lambda: run_dbmate(program, target, folder))


async def _peak_memory(dsn: str, files: Path) -> float:
    """The peak memory of a process in megabytes, Python included."""
    arguments = (sys.executable, "-c", _ALONE, dsn, str(files))
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"applying {files} failed")
    return int(printed) / 1024
