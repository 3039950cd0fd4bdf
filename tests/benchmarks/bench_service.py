"""The service over HTTP, compared with a bare Litestar handler: with nothing pending, and the cost of the service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx2

from pgdbm_service.client import AsyncClient, MigrateBody, ProblemError, RegistrationBody, Run, SubmittedMigration

from .databases import Databases, insert, write_migrations
from .harness import Result, race, timed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_APP = str(Path(__file__).resolve().parents[2] / "app")
_SECONDS = 3
_CLIENTS = 16
_RUNS = 40
_LONG_RUNS = 30
_READS = 50
_POST = 'wrk.method = "POST"\n'


async def main(dsn: str, folder: Path, rounds: int) -> None:
    database = await Databases(dsn).fresh()
    repo = folder / "repo"
    write_migrations(repo / "app", 25, insert)
    (repo / "app" / "module.toml").write_text('schema = "app"\n')
    variables = {"DATABASE_URL": database, "PGDBM_MIGRATIONS_REPO": str(repo), "PGDBM_LOG_LEVEL": "warning"}
    async with running("-m", "pgdbm_service", **variables) as service:
        async with httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
            answer = (await client.post("/modules/app/migrate")).raise_for_status()
            assert answer.json()["status"] == "success"
            assert len((await client.get("/modules/app/history")).json()["items"]) == 20
        print(f"\nMemory of the service when idle: {service.megabytes():.0f} MB  (at most 110)")
        await _queue(service.url, database)
        await _exhausted(service.url)
        await _with_wrk(service, variables, folder, rounds)
    await _start(variables, rounds)


async def _with_wrk(service: Server, variables: dict[str, str], folder: Path, rounds: int) -> None:
    if shutil.which("wrk") is None:
        print("\nwrk is not installed: requests over HTTP were not measured")
        return
    async with running("-m", "tests.benchmarks.bare_service", **variables) as bare:
        ours, theirs = "pgdbm_service", "bare Litestar"
        cpu: dict[str, list[float]] = {ours: [], theirs: []}

        async def reading(name: str, server: Server, path: str) -> float:
            before = server.cpu_s()
            rate = await requests_per_second(f"{server.url}{path}")
            cpu[name].append((server.cpu_s() - before) / (rate * _SECONDS))
            return 1 / rate

        claim = (ours, theirs, round(1 / 0.75, 3))
        result = await race(
            f"History of 20 rows, {_CLIENTS} clients, seconds per request",
            {
                ours: lambda: reading(ours, service, "/modules/app/history"),
                theirs: lambda: reading(theirs, bare, "/history"),
            },
            rounds,
        )
        result.show(claim)
        # Without the round that warms up.
        Result("The same, in CPU time", {name: values[1:] for name, values in cpu.items()}).show(claim)
    script = folder / "post.lua"
    script.write_text(_POST)
    text = await _wrk(f"{service.url}/modules/app/migrate", "--latency", "-s", str(script))
    p50, p99 = (_milliseconds(re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", text)) for share in (50, 99))
    print(f"\nNothing pending, POST …/migrate, {_CLIENTS} clients")
    print(f"  p50 {p50:.1f} ms (at most 8)  {'ok' if p50 <= 8 else 'OVER'}")
    print(f"  p99 {p99:.1f} ms (at most 30)  {'ok' if p99 <= 30 else 'OVER'}")


def _milliseconds(found: re.Match[str] | None) -> float:
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


async def requests_per_second(address: str) -> float:
    """With as many clients as the other benchmarks have."""
    found = re.search(r"Requests/sec:\s+([\d.]+)", await _wrk(address))
    assert found is not None
    return float(found[1])


async def _wrk(address: str, *options: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{_CLIENTS}", f"-d{_SECONDS}s", *options, address), stdout=asyncio.subprocess.PIPE
    )
    text = (await process.communicate())[0].decode()
    assert "Non-2xx" not in text, text
    return text


async def _queue(url: str, database: str) -> None:
    """From the row of a run to its first statement, both by the clock of the database."""
    names = [f"queued_{number}" for number in range(_RUNS)]
    content = "CREATE TABLE {{tables.began}} AS SELECT clock_timestamp() AS at"
    async with AsyncClient(url) as client:
        for name in names:
            body = RegistrationBody(schema=name, migrations=[SubmittedMigration(filename="1.sql", content=content)])
            await client.register_module(name, body)
            await client.wait_for(await client.migrate(name, MigrateBody(wait_s=0)))
    connection = await asyncpg.connect(database)
    waited = [
        await connection.fetchval(
            f"SELECT extract(epoch FROM b.at - r.created_at) * 1000 "
            f"FROM {name}.began b, pgdbm_service.runs r WHERE r.module = $1",
            name,
        )
        for name in names
    ]
    await connection.close()
    middle = statistics.median(waited)
    print(f"\nA run, from accepted to its first statement: p50 {middle:.0f} ms (at most 50)  ", end="")
    print("ok" if middle <= 50 else "OVER")


async def _exhausted(url: str) -> None:
    """The latency of reads while all slots for migrations are used, and more migrations wait for one."""
    names = [f"long_{number}" for number in range(_LONG_RUNS)]
    async with AsyncClient(url) as client, httpx2.AsyncClient(base_url=url, timeout=60) as reader:
        for name in names:
            one = SubmittedMigration(filename="1.sql", content="SELECT pg_sleep(60)")
            await client.register_module(name, RegistrationBody(schema=name, migrations=[one]))
        runs = [await client.migrate(name, MigrateBody(wait_s=0)) for name in names]
        while (await client.get_pool()).migrating < (await client.get_pool()).migrating_max:
            await asyncio.sleep(0.05)
        slowest = {}
        for path in ("/modules/app/history", "/modules", "/health/ready", "/health/live"):
            took = []
            for _ in range(_READS):
                began = time.perf_counter()
                (await reader.get(path)).raise_for_status()
                took.append((time.perf_counter() - began) * 1000)
            slowest[path] = max(took)
        for run in runs:
            assert isinstance(run, Run)
            await client.cancel_run(run.id)
            with contextlib.suppress(ProblemError):
                await client.wait_for(run)
    print("\nThe slowest of each read while the pool is full of long migrations")
    for path, took_ms in slowest.items():
        print(f"  {path:28} {took_ms:7.1f} ms  (at most 100)  {'ok' if took_ms <= 100 else 'OVER'}")


async def _start(variables: dict[str, str], rounds: int) -> None:
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        async with running("-m", "pgdbm_service", **variables):
            seconds.append(time.perf_counter() - began)
    middle = statistics.median(seconds)
    print(f"\nStart to ready, the database up: {middle:.2f} s (at most 1.5)  {'ok' if middle <= 1.5 else 'OVER'}")


class Server:
    def __init__(self, port: int, pid: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.pid = pid

    def megabytes(self) -> float:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) / 1024

    def cpu_s(self) -> float:
        """Processor time since its start. Unlike elapsed time, it does not depend on other work on the machine."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def migrate_over_http(
    database: str, repository: Path, *, warm_up: Callable[[AsyncClient], Awaitable[object]] | None = None
) -> float:
    """Seconds of ``POST /modules/app/migrate`` at a service that has connections, and has read the files.

    ``warm_up`` is called before that.
    """
    variables = {"DATABASE_URL": database, "PGDBM_MIGRATIONS_REPO": str(repository), "PGDBM_LOG_LEVEL": "warning"}
    async with running("-m", "pgdbm_service", **variables) as service, AsyncClient(service.url) as client:
        await client.get_module("app")
        if warm_up is not None:
            await warm_up(client)
        return await timed(lambda: client.migrate("app", MigrateBody(wait_s=60)))


@contextlib.asynccontextmanager
async def running(*program: str, **variables: str) -> AsyncIterator[Server]:
    """A server in Python, once it answers; stopped at the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    root = str(Path(_APP).parent)
    environment: dict[str, Any] = os.environ | {"PYTHONPATH": os.pathsep.join((_APP, root)), "PGDBM_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program),
        env=environment | variables,
        stdout=asyncio.subprocess.DEVNULL,
    )
    server = Server(port, process.pid)
    try:
        async with httpx2.AsyncClient(base_url=server.url) as client:
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    # The baseline has no such call: any answer shows that it is ready.
                    if (await client.get("/health/ready")).status_code in (200, 404):
                        break
                assert process.returncode is None
                await asyncio.sleep(0.01)
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
