"""The service over a module in thousands of schemas, with nothing pending: time until the answer, and CPU time."""

from __future__ import annotations

import statistics
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from pgdbm_service.client import AsyncClient, MigrateBody, RegistrationBody, SubmittedMigration

from .bench_service import running
from .databases import Databases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_COMPARED = 10_000
_COMPARED_BOUND_MS = 150
_FILES = {f"{number}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} (id int)" for number in range(1, 6)}
_CLONE = """
DO $$ BEGIN
  FOR number IN {first}..{last} LOOP
    EXECUTE format('CREATE SCHEMA tenant_%s', number);
    EXECUTE format('CREATE TABLE tenant_%s.schema_migrations (LIKE tenant_0.schema_migrations INCLUDING ALL)', number);
    EXECUTE format('INSERT INTO tenant_%s.schema_migrations SELECT * FROM tenant_0.schema_migrations', number);
  END LOOP;
END $$
"""


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    (folder / "many_repo").mkdir()
    await _nothing_pending(await databases.fresh(), folder, rounds)


@asynccontextmanager
async def _registered(database: str, folder: Path) -> AsyncIterator[tuple[AsyncClient, list[int]]]:
    """A client of a service that has the module tenants, and the service's process id."""
    variables = {
        "DATABASE_URL": database,
        "PGDBM_MIGRATIONS_REPO": str(folder / "many_repo"),
        "PGDBM_LOG_LEVEL": "warning",
        # It would distort the measurement.
        "PGDBM_RECONCILE_S": "86400",
    }
    async with running("-m", "pgdbm_service", **variables) as service, AsyncClient(service.url) as client:
        files = [SubmittedMigration(filename=name, content=content) for name, content in _FILES.items()]
        await client.register_module("tenants", RegistrationBody(schemas="tenant_*", migrations=files))
        yield client, [service.pid]


async def _nothing_pending(database: str, folder: Path, rounds: int) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute("CREATE SCHEMA tenant_0")
    async with _registered(database, folder) as (client, pids):
        await client.wait_for(await client.migrate("tenants", MigrateBody(wait_s=0)))
        for first in range(1, _COMPARED, 100):
            await connection.execute(_CLONE.format(first=first, last=min(first + 99, _COMPARED - 1)))
        await connection.execute("VACUUM ANALYZE")

        async def migrate() -> None:
            result = await client.migrate("tenants", MigrateBody())
            assert result.status == "up_to_date", result

        for what, call in (
            ("Nothing pending", migrate),
            ("The state of a module", lambda: client.get_module("tenants")),
        ):
            spent, took = await _measured(connection, pids, call, rounds)
            verdict = "ok" if took <= _COMPARED_BOUND_MS else "OVER"
            print(f"\n{what} in {_COMPARED:,} schemas, over HTTP: {took:.0f} ms", end="")
            print(f"  (at most {_COMPARED_BOUND_MS})  {verdict}; {spent:.0f} ms of CPU in service and server")
    await connection.close()


async def _measured(
    connection: asyncpg.Connection[asyncpg.Record],
    pids: list[int],
    call: Callable[[], Awaitable[object]],
    rounds: int,
) -> tuple[float, float]:
    """The medians of CPU time and elapsed time, in milliseconds."""
    cpu, seconds = [], []
    # The first calls read the catalog into the backend, and plan.
    for number in range(rounds + 3):
        backends = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgdbm_service' AND datname = current_database()"
        )
        both = [*pids, *(row["pid"] for row in backends)]
        before, began = _cpu_ms(both), time.perf_counter()
        await call()
        if number > 2:
            seconds.append(time.perf_counter() - began)
            cpu.append(_cpu_ms(both) - before)
    return statistics.median(cpu), statistics.median(seconds) * 1000


def _cpu_ms(pids: list[int]) -> float:
    """The CPU time of processes until now."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e6
