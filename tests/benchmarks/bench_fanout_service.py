"""A run of the service over a module in thousands of schemas, against 8 psql that do the same with a row of a history.

``--schemas 10000 --replicas 3`` sets how many. The throughput at the end of the run and at its beginning, compared with
that of psql, and the memory of each replica show whether a run gets slower or larger with the number of schemas that it
has migrated. PostgreSQL itself gets slower: its catalogs and its folder of files grow.

CPU time is that of the clients and of the server with all of its backends. On a busy machine elapsed times compare the
number of processes: 8 psql get eight times the share of the processors that one service gets.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from pgdbm_service.client import AsyncClient, MigrateBody, RegistrationBody, SubmittedMigration

from .bench_service import running
from .databases import HISTORY, Databases, run_psql
from .harness import Result, race, timed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .bench_service import Server

_FILES = {f"{number}.sql": f"CREATE TABLE {{{{tables.t{number}}}}} (id int)" for number in range(1, 6)}
_PSQL = 8
_OF_PSQL = 1.25
_PART = 1000
_SLOWEST = 0.8
_GROWTH_MB = 25
_SAMPLED_S = 1.0


@dataclass
class _Measured:
    """What one run shows: schemas per second in its first and last part, and megabytes per replica over time."""

    first: float = 0.0
    last: float = 0.0
    memory: list[list[float]] = field(default_factory=list)


async def main(dsn: str, folder: Path, rounds: int, *, schemas: int = 2000, replicas: int = 1) -> None:
    databases = Databases(dsn)
    (folder / "fanout_repo").mkdir()
    scripts = _scripts(folder, schemas)
    part = min(_PART, schemas // 4)
    measured: list[_Measured] = []
    kept_by_psql: list[float] = []
    cpu: dict[str, list[float]] = {"pgdbm_service": [], f"{_PSQL} psql": []}

    async def service() -> float:
        database = await databases.fresh()
        await _create_schemas(database, schemas)
        async with AsyncExitStack() as stack:
            servers = await _started(stack, database, folder, replicas)
            client = await stack.enter_async_context(AsyncClient(servers[0].url))
            files = [SubmittedMigration(filename=name, content=content) for name, content in _FILES.items()]
            await client.register_module("tenants", RegistrationBody(schemas="tenant_*", migrations=files))
            now = _Measured()
            sampler = asyncio.create_task(_sample(servers, now))

            async def migrate() -> None:
                run = await client.migrate("tenants", MigrateBody(wait_s=0))
                await client.wait_for(run)

            before = await _cpu_seconds(database, servers)
            try:
                seconds = await timed(migrate)
            finally:
                sampler.cancel()
            cpu["pgdbm_service"].append(await _cpu_seconds(database, servers) - before)
        now.first, now.last = await _throughput(database, part)
        measured.append(now)
        return seconds

    async def psql() -> float:
        database = await databases.fresh()
        waiting, ended = list(reversed(scripts)), []

        async def work() -> None:
            while waiting:
                await run_psql(database, waiting.pop())
                ended.append(time.monotonic())

        before = await _cpu_seconds(database)
        began = time.monotonic()
        seconds = await timed(lambda: asyncio.gather(*(work() for _ in range(_PSQL))))
        cpu[f"{_PSQL} psql"].append(await _cpu_seconds(database) - before)
        # Its throughput in the last part, relative to the first.
        kept_by_psql.append((ended[part - 1] - began) / (ended[-1] - ended[-part - 1]))
        return seconds

    title = f"The service, {replicas} replica(s): {schemas:,} schemas, {len(_FILES)} files each"
    claim = ("pgdbm_service", f"{_PSQL} psql", _OF_PSQL)
    (await race(title, {"pgdbm_service": service, f"{_PSQL} psql": psql}, rounds, warm_up=False)).show(claim)
    Result("The same, in CPU time of clients and server", cpu).show(claim)
    _show(measured, part, statistics.median(kept_by_psql))


def _show(measured: list[_Measured], part: int, kept_by_psql: float) -> None:
    first = statistics.median(one.first for one in measured)
    last = statistics.median(one.last for one in measured)
    verdict = "ok" if last >= _SLOWEST * kept_by_psql * first else "UNDER"
    print(f"  schemas a second: {first:.0f} in the first {part:,}, {last:.0f} in the last, ", end="")
    print(f"{last / first:.2f} of it; psql: {kept_by_psql:.2f}  (at least {_SLOWEST:g} of psql's)  {verdict}")
    for number, samples in enumerate(zip(*measured[-1].memory, strict=True), 1):
        _show_memory(number, samples)


def _show_memory(number: int, samples: tuple[float, ...]) -> None:
    # The first quarter includes what a service imports and caches for its first run.
    quarter, end, most = samples[len(samples) // 4], samples[-1], max(samples)
    verdict = "ok" if most - quarter <= _GROWTH_MB else "OVER"
    print(
        f"  replica {number}: {samples[0]:.0f} MB at the start, {quarter:.0f} after a quarter of the run, {end:.0f} ",
        end="",
    )
    print(f"at its end, at most {most:.0f}  (at most {_GROWTH_MB} more than after the quarter)  {verdict}")


async def _sample(servers: list[Server], measured: _Measured) -> None:
    while True:
        measured.memory.append([server.megabytes() for server in servers])
        await asyncio.sleep(_SAMPLED_S)


async def _cpu_seconds(database: str, servers: Sequence[Server] = ()) -> float:
    """The CPU time until now of the database server, of ``servers``, and of the processes that this one has waited for.

    The server's first process has waited for the backends that have ended.
    """
    connection = await asyncpg.connect(database)
    first = _stat(connection.get_server_pid())[1]
    await connection.close()
    stats = {int(one.name): _stat(int(one.name)) for one in Path("/proc").iterdir() if one.name.isdecimal()}
    backends = [stat for stat in stats.values() if stat[1] == first]
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = sum(int(value) for stat in (*backends, *(stats[one.pid] for one in servers)) for value in stat[11:13])
    ticks += sum(map(int, stats[int(first)][11:15]))
    return ours.ru_utime + ours.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on: after the name, which may contain spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["", ""]


async def _started(stack: AsyncExitStack, database: str, folder: Path, replicas: int) -> list[Server]:
    variables = {
        "DATABASE_URL": database,
        "PGDBM_MIGRATIONS_REPO": str(folder / "fanout_repo"),
        "PGDBM_LOG_LEVEL": "warning",
        # It would distort the measurement.
        "PGDBM_RECONCILE_S": "86400",
    }
    return [await stack.enter_async_context(running("-m", "pgdbm_service", **variables)) for _ in range(replicas)]


async def _create_schemas(database: str, count: int) -> None:
    connection = await asyncpg.connect(database)
    for number in range(count):
        await connection.execute(f"CREATE SCHEMA tenant_{number}")
    await connection.close()


async def _throughput(database: str, part: int) -> tuple[float, float]:
    """Schemas per second in the first and in the last ``part`` of a run."""
    connection = await asyncpg.connect(database)
    rows = await connection.fetch(
        "SELECT extract(epoch FROM ended_at)::float8 AS at, status FROM pgdbm_service.run_schemas ORDER BY ended_at"
    )
    began = await connection.fetchval(
        "SELECT extract(epoch FROM min(started_at))::float8 FROM pgdbm_service.run_schemas"
    )
    await connection.close()
    assert {row["status"] for row in rows} == {"succeeded"}
    return part / (rows[part - 1]["at"] - began), part / (rows[-1]["at"] - rows[-part - 1]["at"])


def _scripts(folder: Path, count: int) -> list[Path]:
    """For each schema, what psql runs: the same files in transactions of their own, each with a row in a history."""
    scripts = []
    for number in range(count):
        schema = f"tenant_{number}"
        parts = [HISTORY.replace("app", schema)]
        for name, content in _FILES.items():
            columns = "(filename, checksum, module_name)"
            row = f"INSERT INTO {schema}.schema_migrations {columns} VALUES ('{name}', 'x', 'm')"
            text = content.replace("{{tables.", f"{schema}.").replace("}}", "")
            parts.append(f"BEGIN;\n{text};\n{row};\nCOMMIT;\n")
        script = folder / f"{schema}.sql"
        script.write_text("".join(parts))
        scripts.append(script)
    return scripts
