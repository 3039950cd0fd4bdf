"""Replicas of the service: processes over one database, which are killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

import pgdbm_service

from ..service.forked_service import ForkedService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_APP = Path(pgdbm_service.__file__).parents[1]
_DEADLINE_S = 60


@dataclass
class Replica:
    """A service on a port that stays the same when it is started again."""

    port: int
    variables: dict[str, str]
    log: Path
    process: ForkedService | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environment |= {"PYTHONPATH": str(_APP), "PGDBM_PORT": str(self.port)} | self.variables
        # Without awaiting, so that a cancellation cannot leave a process behind.
        self.process = ForkedService(environment, out=self.log, err=self.log)

    async def kill(self) -> None:
        """SIGKILL, at any moment."""
        assert self.process is not None
        self.process.kill()
        while self.process.poll() is None:
            await asyncio.sleep(0.01)

    async def ready(self, client: httpx2.AsyncClient) -> None:
        """Return once it answers that it is ready."""
        async with asyncio.timeout(_DEADLINE_S):
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    if (await client.get(f"{self.url}/health/ready")).status_code == 200:
                        return
                assert self.process is not None
                assert self.process.returncode is None, self.log.read_text()[-3000:]
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def replicas(count: int, dsn: str, repo: Path, folder: Path, **variables: str) -> AsyncIterator[list[Replica]]:
    """``count`` replicas that are ready; ended at the end of the block."""
    started = []
    try:
        async with httpx2.AsyncClient() as client:
            for number in range(count):
                with socket.create_server(("127.0.0.1", 0)) as free:
                    port: int = free.getsockname()[1]
                settings = {"DATABASE_URL": dsn, "PGDBM_MIGRATIONS_REPO": str(repo), **variables}
                replica = Replica(port, settings, folder / f"replica_{number}.log")
                await replica.start()
                started.append(replica)
            for replica in started:
                await replica.ready(client)
        yield started
    finally:
        for replica in started:
            if replica.process is not None and replica.process.returncode is None:
                await replica.kill()


async def post(client: httpx2.AsyncClient, urls: list[str], path: str, **options: Any) -> httpx2.Response:
    """The answer of the first of ``urls`` that is available; repeats what a retry can fix, like a deploy job."""
    async with asyncio.timeout(_DEADLINE_S * 3):
        for attempt in range(10_000):
            with contextlib.suppress(httpx2.TransportError):
                answer = await client.post(urls[attempt % len(urls)] + path, **options)
                if answer.status_code not in (429, 503):
                    return answer
                assert "retry-after" in answer.headers, answer.text
            await asyncio.sleep(0.1)
    raise AssertionError("unreachable")
