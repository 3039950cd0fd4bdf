"""N migrations (a table and two indexes each) against psql doing the same work, and against the bare SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .databases import Databases, psql_scripts, run_psql, shared_pool, write_migrations
from .harness import race, timed

if TYPE_CHECKING:
    from pathlib import Path


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    per_migration = {}
    for count in (100, 1000):
        files = folder / f"migrations_{count}"
        same_work, bare = psql_scripts(folder, write_migrations(files, count))

        async def pgdbm(files: Path = files, count: int = count) -> float:
            pool = await shared_pool(await databases.fresh())
            migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "app")
            seconds = await timed(migrations.apply_pending_migrations)
            assert len(await migrations.history(count + 1)) == count
            await pool.close()
            return seconds

        async def psql(script: Path = same_work) -> float:
            target = await databases.fresh()
            return await timed(lambda: run_psql(target, script))

        async def floor(script: Path = bare) -> float:
            target = await databases.fresh()
            return await timed(lambda: run_psql(target, script, "-1"))

        result = await race(
            f"{count} migrations",
            {"pgdbm": pgdbm, "psql, same work": psql, "psql -1, bare SQL": floor},
            rounds,
        )
        result.show(("pgdbm", "psql, same work", 0.9), ("pgdbm", "psql -1, bare SQL", 1.5))
        per_migration[count] = min(result.seconds["pgdbm"]) / count
    print(f"\n  per migration, 1000 against 100: {per_migration[1000] / per_migration[100]:.2f} times (linear is 1)")
