"""Periodic jobs in the background."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from pgdbm.core.pool import without_reset
from pgdbm.core.tasks import cancel_and_wait

from .failures import is_short_of_resources, is_unavailable, service_error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .pool import Database

logger = structlog.get_logger("pgdbm_service")


class Job:
    """``work`` runs again ``every_s`` seconds after it ended, or after :meth:`wake`; with ``database``, only once that
    is connected. Its statements must leave nothing behind in their sessions.
    """

    def __init__(
        self,
        name: str,
        every_s: float | Callable[[], float],
        work: Callable[[], Awaitable[object]],
        database: Database | None = None,
    ) -> None:
        self.name = name
        self._every_s = every_s
        self._work = work
        self._database = database
        self._woken = asyncio.Event()
        self._failing = False

    def wake(self) -> None:
        """Run the work again now."""
        self._woken.set()

    async def run(self) -> None:
        """Run until cancelled. Only the first of consecutive failures is logged."""
        if self._database is not None:
            await self._database.connected.wait()
        while True:
            if self._database is not None:
                await self._database.idle.until_active()
            self._woken.clear()
            try:
                with without_reset():
                    await self._work()
                self._failing = False
            except Exception as error:
                self._log(error)
            pause = self._every_s() if callable(self._every_s) else self._every_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()

    def _log(self, error: Exception) -> None:
        problem = service_error_of(error)
        if self._failing or (is_unavailable(problem) and not is_short_of_resources(problem)):
            return
        self._failing = True
        logger.error("background job failed", job=self.name, exc_info=error)


@contextlib.asynccontextmanager
async def cancelled_at_end(*tasks: asyncio.Task[None]) -> AsyncIterator[None]:
    """Cancel ``tasks`` at the end of the block, and wait for them."""
    try:
        yield
    finally:
        await cancel_and_wait(*tasks)


def background(jobs: list[Job]) -> Callable[[object], contextlib.AbstractAsyncContextManager[None]]:
    """A lifespan during which ``jobs`` run."""

    @contextlib.asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        async with cancelled_at_end(*(asyncio.create_task(job.run(), name=job.name) for job in jobs)):
            yield

    return lifespan
