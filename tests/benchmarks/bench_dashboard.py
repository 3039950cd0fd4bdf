"""What the dashboard costs a service: its start, its memory, and the API's calls, with and without the dashboard."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from typing import TYPE_CHECKING

import httpx2

from .bench_service import Server, requests_per_second, running
from .databases import Databases, insert, write_migrations
from .harness import race

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_PAGES = ("", "/runs", "/database", "/audit", "/tokens", "/webhooks", "/modules/app", "/modules/app?tab=history")
_OPEN_PAGES = 100
# The service without the routes of its pages.
_WITHOUT = """
import pgdbm_service.asgi as asgi
from pgdbm_service.__main__ import main

def router(path, route_handlers, **options):
    return whole(path, route_handlers=[one for one in route_handlers if not is_page(one)], **options)

def is_page(handler):
    paths = getattr(handler, "paths", None) or [getattr(handler, "path", "")]
    return any(path.startswith("/ui") for path in paths)

whole, asgi.Router = asgi.Router, router
main()
"""


async def main(dsn: str, folder: Path, rounds: int) -> None:
    repo = folder / "dashboard"
    write_migrations(repo / "app", 25, insert)
    (repo / "app" / "module.toml").write_text('schema = "app"\n')
    variables = {
        "DATABASE_URL": await Databases(dsn).fresh(),
        "PGDBM_MIGRATIONS_REPO": str(repo),
        "PGDBM_LOG_LEVEL": "warning",
    }
    async with running("-m", "pgdbm_service", **variables) as service:
        async with httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
            (await client.post("/modules/app/migrate")).raise_for_status()
            before = service.megabytes()
            for path in _PAGES * 3:
                (await client.get(f"/ui{path}", headers={"Accept": "text/html"})).raise_for_status()
            after = service.megabytes()
            async with _open_pages(service.url):
                followed = service.megabytes()
        print(f"\nMemory of the service when idle: {before:.0f} MB; after its pages were read {after:.0f} MB;")
        print(f"  while {_OPEN_PAGES} pages are open {followed:.0f} MB  (at most 110)  ", end="")
        print("ok" if followed <= 110 else "OVER")
        if shutil.which("wrk") is None:
            print("\nwrk is not installed: requests over HTTP were not measured")
        else:
            await _calls(service, rounds)

    async def start(*program: str) -> float:
        async with running(*program, **variables) as one:
            return one.cpu_s()

    result = await race(
        "Start to ready, CPU of the process",
        {"with the dashboard": lambda: start("-m", "pgdbm_service"), "without": lambda: start("-c", _WITHOUT)},
        rounds,
    )
    result.show(("with the dashboard", "without", 1.1))


async def _calls(service: Server, rounds: int) -> None:
    async def reading() -> float:
        began, before = time.perf_counter(), service.cpu_s()
        rate = await requests_per_second(f"{service.url}/modules/app/history")
        return (service.cpu_s() - before) / (rate * (time.perf_counter() - began))

    async def reading_beside_pages() -> float:
        async with _open_pages(service.url):
            return await reading()

    result = await race(
        "History of 20 rows, CPU of the process per request",
        {f"{_OPEN_PAGES} pages open": reading_beside_pages, "none": reading},
        rounds,
    )
    result.show((f"{_OPEN_PAGES} pages open", "none", 1.1))


@contextlib.asynccontextmanager
async def _open_pages(url: str) -> AsyncIterator[None]:
    """Streams of the first page, as browsers that show it hold them."""
    limits = httpx2.Limits(max_connections=_OPEN_PAGES)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, limits=limits, timeout=60))
        for _ in range(_OPEN_PAGES):
            stream = await stack.enter_async_context(client.stream("GET", "/ui/live"))
            assert stream.status_code == 200
        await asyncio.sleep(1)
        yield
