"""Three small migrations in a schema with 1,000 tables and 1,000 applied: the command line against psql."""

from __future__ import annotations

import asyncio
import statistics
import sys
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .databases import Databases, ddl, psql_scripts, run_psql, shared_pool, write_migrations
from .harness import race, timed

if TYPE_CHECKING:
    from pathlib import Path

_APPLIED = 1000
_PENDING = 3
_MOST_EXTRA_MS = 150


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    files = folder / "few_pending"
    plain = write_migrations(files, _APPLIED + _PENDING, ddl)
    script = folder / "few_pending.sql"
    # The history and the schema exist.
    transactions = psql_scripts(folder, plain)[0].read_text().split("BEGIN;\n")
    script.write_text("".join(f"BEGIN;\n{one}" for one in transactions[-_PENDING:]))
    template = await databases.fresh()
    pool = await shared_pool(template)
    migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "app")
    await migrations.apply_pending_migrations(target=f"{_APPLIED:05}")
    await pool.close()

    async def command() -> float:
        target = await databases.fresh(template)
        arguments = ("-m", "pgdbm.cli", "migrate", "apply", "app", "--schema", "app", "--dir", str(files))
        return await timed(lambda: _run(*arguments, "--database-url", target))

    async def psql() -> float:
        target = await databases.fresh(template)
        return await timed(lambda: run_psql(target, script))

    title = f"{_PENDING} small migrations, {_APPLIED:,} applied, {_APPLIED:,} tables"
    result = await race(title, {"pgdbm migrate apply": command, "psql, same work": psql}, rounds)
    result.show()
    pairs = zip(result.seconds["pgdbm migrate apply"], result.seconds["psql, same work"], strict=True)
    extra = statistics.median(ours - theirs for ours, theirs in pairs) * 1000
    verdict = "ok" if extra <= _MOST_EXTRA_MS else "OVER"
    print(f"  pgdbm migrate apply - psql: {extra:.0f} ms  (at most {_MOST_EXTRA_MS})  {verdict}")


async def _run(*arguments: str) -> None:
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=null)
    if await process.wait():
        raise RuntimeError(f"{' '.join(arguments)} failed")
