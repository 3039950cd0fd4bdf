"""Many open pages on two replicas while modules are migrated: all pages follow, and none misses a row or needs a
connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx2

from .effort import rounds
from .replicas import replicas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from .replicas import Replica

PAGES = rounds(20, 200)
MODULES = rounds(5, 20)
_DEADLINE_S = 120
_ROW = re.compile(
    rb'<tr id="module-(?P<name>\w+)" data-name="\w+" data-state="(?P<state>\w+)".*?'
    rb'<td class="mono narrow-hide">(?P<version>[^<]*)</td>',
    re.DOTALL,
)
# A pool, and the connection that listens. In each replica.
_CONNECTIONS = 10 + 1


@dataclass
class Page:
    """An open overview, as a browser keeps it: the newest row of each module. It reconnects to the next replica."""

    ports: list[int]
    shown: dict[str, tuple[str, str]] = field(default_factory=dict)
    seen_at: dict[tuple[str, str], float] = field(default_factory=dict)
    connected: int = 0

    async def follow(self) -> None:
        for attempt in range(10_000):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._read(self.ports[attempt % len(self.ports)])
            await asyncio.sleep(0.2)

    async def _read(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET /ui/live HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            self.connected += 1
            event = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                event += await reader.readexactly(size)
                await reader.readexactly(2)
                *whole, event = event.split(b"\n\n")
                for text in whole:
                    self._take(text)
        finally:
            writer.close()

    def _take(self, text: bytes) -> None:
        for row in _ROW.finditer(text.replace(b"\ndata: ", b"\n")):
            name, state, version = (row[group].decode() for group in ("name", "state", "version"))
            self.shown[name] = (state, version)
            if state == "up_to_date":
                self.seen_at.setdefault((name, version), time.time())


@contextlib.asynccontextmanager
async def open_pages(started: Sequence[Replica]) -> AsyncIterator[list[Page]]:
    ports = [replica.port for replica in started]
    pages = [Page(ports[number % 2 :] + ports[: number % 2]) for number in range(PAGES)]
    tasks = [asyncio.create_task(page.follow()) for page in pages]
    try:
        await until(lambda: all(page.shown for page in pages), "every page shows the modules")
        yield pages
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


def write(repo: Path, version: str) -> list[str]:
    names = [f"m{number:02}" for number in range(MODULES)]
    for name in names:
        (repo / name).mkdir(parents=True, exist_ok=True)
        text = f"SELECT pg_sleep(0.3);\nCREATE TABLE {{{{tables.t{version}}}}} (id integer);"
        (repo / name / f"{version}_t.sql").write_text(text)
    return names


async def migrate(client: httpx2.AsyncClient, url: str, names: Sequence[str]) -> None:
    """Submit a migrate of each module, once the service has read its new file."""
    await client.post(f"{url}/repo/sync")
    for name in names:
        answer = await client.post(f"{url}/modules/{name}/migrate", headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, answer.text


def memory_mb(replica: Replica) -> float:
    assert replica.process is not None
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


async def ends(connection: asyncpg.Connection) -> dict[str, float]:
    """When the newest run of each module ended, by the database's clock, which is that of this machine."""
    rows = await connection.fetch(
        "SELECT DISTINCT ON (module) module, extract(epoch FROM ended_at)::float8 AS ended "
        "FROM pgdbm_service.runs ORDER BY module, number DESC"
    )
    return {row["module"]: row["ended"] for row in rows}


def all_show(pages: Sequence[Page], names: Sequence[str], version: str) -> bool:
    return all(page.shown.get(name) == ("up_to_date", version) for page in pages for name in names)


async def test_open_pages_follow_the_rows_and_miss_nothing(database: str, tmp_path: Path) -> None:
    names = write(tmp_path / "repo", "001")
    connection = await asyncpg.connect(database)
    settings = {"PGDBM_TAKEOVER_S": "3", "PGDBM_MAX_CONNECTIONS": "10"}
    async with (
        replicas(2, database, tmp_path / "repo", tmp_path, **settings) as started,
        httpx2.AsyncClient(timeout=60) as client,
    ):
        before = await connection.fetchval(_COUNT_CONNECTIONS)
        async with open_pages(started) as pages:
            opened = await connection.fetchval(_COUNT_CONNECTIONS)
            assert opened <= max(before, 2 * _CONNECTIONS), f"{opened} connections with {PAGES} pages"

            await migrate(client, started[0].url, names)
            await until(lambda: all_show(pages, names, "001"), "every page shows version 001")
            ended = await ends(connection)
            lags = sorted(page.seen_at[name, "001"] - ended[name] for page in pages for name in names)
            first_mb = [memory_mb(replica) for replica in started]

            for version in ("002", "003"):
                write(tmp_path / "repo", version)
                await migrate(client, started[0].url, names)
                await until(lambda version=version: all_show(pages, names, version), f"every page shows {version}")
            last_mb = [memory_mb(replica) for replica in started]
            used = await connection.fetchval(_COUNT_CONNECTIONS)
            print(
                f"{PAGES} pages, {MODULES} modules: {lags[len(lags) // 2]:.2f} s behind the rows in the middle, "
                f"{lags[-1]:.2f} s at most; {opened} connections; memory {first_mb} MB, then {last_mb} MB"
            )
            # One second on an idle machine. If each page read the database itself, pages would be many seconds behind.
            assert lags[-1] < 10
            assert used <= 2 * _CONNECTIONS
            assert all(last < first + 40 for first, last in zip(first_mb, last_mb, strict=True))

            # One replica is killed during a run: its pages move to the other, which continues its runs.
            write(tmp_path / "repo", "004")
            await client.post(f"{started[1].url}/repo/sync")
            await migrate(client, started[0].url, names)
            await started[0].kill()
            await until(lambda: all_show(pages, names, "004"), "every page shows version 004")
            assert all(page.connected >= 2 for page in pages if page.ports[0] == started[0].port)
    await connection.close()


_COUNT_CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
