"""What the service does beside answering: small jobs, again and again, until it stops."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import structlog

from .errors import is_database_away

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from litestar import Litestar

    from .database import Database

logger = structlog.get_logger("pgdbm_service")


class Job:
    """``work`` is done every ``every_s`` seconds, counted from its end; with ``database``, once there is one."""

    def __init__(
        self, name: str, every_s: float, work: Callable[[], Awaitable[Any]], database: Database | None = None
    ) -> None:
        self.name = name
        self._every_s = every_s
        self._work = work
        self._database = database
        self._failing = False

    async def run(self) -> None:
        """Goes on for ever: what fails is logged, once in a row, and tried again."""
        if self._database is not None:
            await self._database.connected.wait()
        while True:
            try:
                await self._work()
                self._failing = False
            except Exception as error:
                self._tell(error)
            await asyncio.sleep(self._every_s)

    def _tell(self, error: Exception) -> None:
        if self._failing or is_database_away(error) or getattr(error, "code", "") == "database_unavailable":
            return
        self._failing = True
        logger.error("background job failed", job=self.name, exc_info=error)


def background(jobs: list[Job]) -> Callable[[Litestar], contextlib.AbstractAsyncContextManager[None]]:
    """A lifespan within which ``jobs`` run."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(job.run(), name=job.name) for job in jobs]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return lifespan
