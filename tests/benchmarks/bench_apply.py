"""N migrations against psql doing the same work, against the bare SQL in one go, and all in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .databases import Databases, ddl, insert, psql_scripts, run_psql, shared_pool, write_migrations
from .harness import race, timed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from pgdbm.migrations.engine import Atomic

# (how many, what each is, its SQL, at most of psql's time, at most of the floor's)
_KINDS = (
    (100, "a table and two indexes each", ddl, 0.9, 1.5),
    (1000, "a table and two indexes each", ddl, 0.9, 1.5),
    (10_000, "one insert each", insert, 0.9, 4.0),
)


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    per_migration = {}
    for count, what, body, of_psql, of_floor in _KINDS:
        files = folder / f"migrations_{count}"
        same_work, bare = psql_scripts(folder, write_migrations(files, count, body))

        def pgdbm(atomic: Atomic, files: Path = files, count: int = count) -> Callable[[], Awaitable[float]]:
            async def apply() -> float:
                pool = await shared_pool(await databases.fresh())
                migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "app")
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

        contestants = {
            "pgdbm": pgdbm("file"),
            "pgdbm, atomic=all": pgdbm("all"),
            "psql, same work": psql,
            "psql -1, bare SQL": floor,
        }
        turns = rounds if count < 10_000 else max(1, rounds // 2)
        result = await race(f"{count} migrations, {what}", contestants, turns)
        result.show(
            ("pgdbm", "psql, same work", of_psql),
            ("pgdbm", "psql -1, bare SQL", of_floor),
            ("pgdbm, atomic=all", "psql -1, bare SQL", of_floor),
        )
        per_migration[count] = min(result.seconds["pgdbm"]) / count
    print(f"\n  per migration, 1000 against 100: {per_migration[1000] / per_migration[100]:.2f} times (linear is 1)")
