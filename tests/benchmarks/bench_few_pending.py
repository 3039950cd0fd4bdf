"""Three small migrations in a schema with 1,000 tables and 1,000 applied: command line and service against psql."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm_service.client import AsyncClient

from .bench_service import running
from .databases import Databases, ddl, psql_scripts, run_command, run_psql, shared_pool, write_migrations
from .harness import race, timed

if TYPE_CHECKING:
    from pathlib import Path

_APPLIED = 1000
_PENDING = 3
_MOST_EXTRA_MS = 150
_MOST_OF_PSQL_OVER_HTTP = 1.3
_MOST_EXTRA_MS_OVER_HTTP = 30


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    repository = folder / "few_repository"
    files = repository / "app"
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
        arguments = ("migrate", "apply", "app", "--schema", "app", "--dir", str(files), "--database-url", target)
        return await timed(lambda: run_command(*arguments))

    async def service() -> float:
        target = await databases.fresh(template)
        variables = {
            "DATABASE_URL": target,
            "PGDBM_MIGRATIONS_REPO": str(repository),
            "PGDBM_LOG_LEVEL": "warning",
        }
        async with running("-m", "pgdbm_service", **variables) as one, AsyncClient(one.url) as client:
            # A service has connections, and has read its files.
            await client.get_module("app")
            return await timed(lambda: client.migrate("app"))

    async def psql() -> float:
        target = await databases.fresh(template)
        return await timed(lambda: run_psql(target, script))

    title = f"{_PENDING} small migrations, {_APPLIED:,} applied, {_APPLIED:,} tables"
    names = "pgdbm migrate apply", "POST /modules/app/migrate", "psql, same work"
    command_line, http, baseline = names
    result = await race(title, dict(zip(names, (command, service, psql), strict=True)), rounds)
    result.show()
    for name, ratio, most in (
        (command_line, 1.0, _MOST_EXTRA_MS),
        (http, _MOST_OF_PSQL_OVER_HTTP, _MOST_EXTRA_MS_OVER_HTTP),
    ):
        pairs = zip(result.seconds[name], result.seconds[baseline], strict=True)
        extra = statistics.median(ours - ratio * theirs for ours, theirs in pairs) * 1000
        verdict = "ok" if extra <= most else "OVER"
        print(f"  {name} - {ratio} of psql: {extra:.0f} ms  (at most {most})  {verdict}")
