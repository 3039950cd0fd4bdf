"""Three small migrations in a schema with 1,000 tables and 1,000 applied: command line and service against psql.

The bounds are milliseconds, on a machine on which ``psql`` takes 15. The ratios of the same bounds are printed too, for
slower machines, and what the command line takes beyond a bare command: most of its time is Python and its packages.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager
from pgdbm_service.client import AsyncClient, MigrateBody

from .bench_service import migrate_over_http
from .databases import (
    Databases,
    apply_by_command,
    ddl,
    psql_scripts,
    run_bare_command,
    run_psql,
    shared_pool,
    write_migrations,
)
from .harness import race, timed

if TYPE_CHECKING:
    from pathlib import Path

_APPLIED = 1000
_PENDING = 3
_EARLIER_RUNS = 5
_MOST_EXTRA_MS = 150
_MOST_EXTRA_MS_OF_PGDBM = 60
_MOST_OF_PSQL_OVER_HTTP = 1.3
_MOST_EXTRA_MS_OVER_HTTP = 30
_PSQL_MS = 15
# Until the service has read new files: it checks for them once a second, and waits until they are complete.
_NOTICED_S = 3.0


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    repository = folder / "few_repository"
    files = repository / "app"
    plain = write_migrations(files, _APPLIED + _PENDING, ddl)
    script = folder / "few_pending.sql"
    # The history and the schema exist.
    transactions = psql_scripts(folder, plain)[0].read_text().split("BEGIN;\n")
    script.write_text("".join(f"BEGIN;\n{one}" for one in transactions[-_PENDING:]))
    template = await _applied(await databases.fresh(), files, _APPLIED)
    earlier = await _applied(await databases.fresh(), files, _APPLIED - _EARLIER_RUNS)
    mounted = folder / "mounted_repository"

    async def command() -> float:
        target = await databases.fresh(template)
        return await timed(lambda: apply_by_command(target, files))

    async def first_run() -> float:
        return await migrate_over_http(await databases.fresh(template), repository)

    async def later_run() -> float:
        shutil.rmtree(mounted, ignore_errors=True)
        shutil.copytree(repository, mounted)
        new = sorted((mounted / "app").iterdir())[-_PENDING:]
        contents = {path: path.read_bytes() for path in new}
        for path in new:
            path.unlink()

        async def deploy(client: AsyncClient) -> None:
            # By then every connection that is in use has sent the statements of a run before.
            for number in range(_APPLIED - _EARLIER_RUNS, _APPLIED):
                await client.migrate("app", MigrateBody(wait_s=60, target=f"{number + 1:05}"))
            for path, content in contents.items():
                path.write_bytes(content)
            await asyncio.sleep(_NOTICED_S)

        return await migrate_over_http(await databases.fresh(earlier), mounted, warm_up=deploy)

    async def psql() -> float:
        target = await databases.fresh(template)
        return await timed(lambda: run_psql(target, script))

    async def bare() -> float:
        target = await databases.fresh(template)
        return await timed(lambda: run_bare_command(target))

    title = f"{_PENDING} small migrations, {_APPLIED:,} applied, {_APPLIED:,} tables"
    command_line, first_http, later_http = "pgdbm migrate apply", "POST, first run of a process", "POST, a later run"
    connecting, baseline = "connecting and a query", "psql, same work"
    names = command_line, connecting, first_http, later_http, baseline
    result = await race(title, dict(zip(names, (command, bare, first_run, later_run, psql), strict=True)), rounds)
    result.show()
    seconds = result.seconds
    own = [ours - least for ours, least in zip(seconds[command_line], seconds[connecting], strict=True)]
    for name, values, ratio, most in (
        (command_line, seconds[command_line], 1.0, _MOST_EXTRA_MS),
        (f"{command_line} - {connecting}", own, 1.0, _MOST_EXTRA_MS_OF_PGDBM),
        # In the first run of a process, the server parses and plans each statement, once for each connection.
        (first_http, seconds[first_http], _MOST_OF_PSQL_OVER_HTTP, _MOST_EXTRA_MS_OVER_HTTP),
        (later_http, seconds[later_http], _MOST_OF_PSQL_OVER_HTTP, _MOST_EXTRA_MS_OVER_HTTP),
    ):
        pairs = zip(values, seconds[baseline], strict=True)
        extra = statistics.median(ours - ratio * theirs for ours, theirs in pairs) * 1000
        verdict = "ok" if extra <= most else "OVER"
        print(f"  {name} - {ratio} of psql: {extra:.0f} ms  (at most {most})  {verdict}")
    for name, ratio, most in (
        (command_line, 1.0, _MOST_EXTRA_MS),
        (later_http, _MOST_OF_PSQL_OVER_HTTP, _MOST_EXTRA_MS_OVER_HTTP),
    ):
        times, most_times = result.ratio(name, baseline), ratio + most / _PSQL_MS
        verdict = "ok" if times <= most_times else "OVER"
        print(f"  {name} / psql: {times:.1f}  (at most {most_times:.1f})  {verdict}")


async def _applied(database: str, files: Path, count: int) -> str:
    """``database``, once the first ``count`` of the files are applied."""
    pool = await shared_pool(database)
    migrations = AsyncMigrationManager(AsyncDatabaseManager(pool=pool, schema="app"), files, "app")
    await migrations.apply_pending_migrations(target=f"{count:05}")
    await pool.close()
    return database
