"""1,000 migrations applied by the library, with and without a listener, by the command line and by the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

from .bench_service import migrate_over_http
from .databases import Databases, apply_by_command, ddl, psql_scripts, run_psql, shared_pool, write_migrations
from .harness import race, timed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

_COUNT = 1000
_OF_PSQL = 0.8


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    repository = folder / "four_ways"
    files = repository / "app"
    script = psql_scripts(folder, write_migrations(files, _COUNT, ddl))[0]

    def library(*, listens: bool) -> Callable[[], Awaitable[float]]:
        async def apply() -> float:
            pool = await shared_pool(await databases.fresh())
            db = AsyncDatabaseManager(pool=pool, schema="app")
            listener = (lambda _: None) if listens else None
            seconds = await timed(AsyncMigrationManager(db, files, "app", on_event=listener).apply_pending_migrations)
            await pool.close()
            return seconds

        return apply

    async def command_line() -> float:
        target = await databases.fresh()
        return await timed(lambda: apply_by_command(target, files))

    async def service() -> float:
        return await migrate_over_http(await databases.fresh(), repository)

    async def psql() -> float:
        target = await databases.fresh()
        return await timed(lambda: run_psql(target, script))

    baseline = "psql, same work"
    ways = {
        "the library": library(listens=False),
        "with a listener": library(listens=True),
        "pgdbm migrate apply": command_line,
        "POST /modules/app/migrate": service,
    }
    result = await race(f"{_COUNT:,} migrations, a table and two indexes each", ways | {baseline: psql}, rounds)
    result.show(*((way, baseline, _OF_PSQL) for way in ways))
