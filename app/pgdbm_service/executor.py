"""Runs migrations: bounded, one at a time per module, and to their end even if nobody waits for the answer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import structlog

from .errors import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

T = TypeVar("T")

# A cancelled migration rolls back; on a dead network that cannot be waited for.
_CUT_OFF_S = 5.0

logger = structlog.get_logger("pgdbm_service")


class Executor:
    """Owns the tasks that migrate.

    ``limit`` is how many may do so at once. A call waits ``wait_s`` for its turn. When the service stops, what
    runs has ``grace_s`` to finish, counted from ``begin_shutdown``; then it is cancelled. ``migrating`` calls have a
    turn now, ``waiting`` ones wait for theirs.
    """

    def __init__(self, *, limit: int, wait_s: float, grace_s: float) -> None:
        self.limit = limit
        self.migrating = 0
        self.waiting = 0
        self._slots = asyncio.Semaphore(limit)
        self._wait_s = wait_s
        self._grace_s = grace_s
        self._tasks: set[asyncio.Task[Any]] = set()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._cutting_off: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        return self._cutting_off is not None

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``work``. When the caller is cancelled, ``work`` goes on.

        Raises:
            Problem: shutting_down, for work that came too late or did not finish in time.
        """
        if self.stopping:
            raise _shutting_down()
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise _shutting_down() from None
            raise

    @contextlib.asynccontextmanager
    async def turn(self, module: str) -> AsyncIterator[None]:
        """Hold one of the slots, alone for ``module``. Whoever waits for it holds no connection meanwhile.

        Raises:
            Problem: lock_timeout or busy, after ``wait_s``.
        """
        lock = self._turns.setdefault(module, asyncio.Lock())
        async with contextlib.AsyncExitStack() as stack:
            if not await self._entered(lock, stack):
                raise Problem(
                    "lock_timeout",
                    f"Another request to this service has been migrating {module} for over {self._wait_s:g} s.",
                    module=module,
                    waited_s=self._wait_s,
                )
            if not await self._entered(self._slots, stack):
                raise Problem("busy", f"{self.limit} migrations are running; none finished within {self._wait_s:g} s.")
            self.migrating += 1
            try:
                yield
            finally:
                self.migrating -= 1

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one of the slots, however long it takes to get one."""
        self.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self.waiting -= 1
        self.migrating += 1
        try:
            yield
        finally:
            self.migrating -= 1
            self._slots.release()

    def begin_shutdown(self) -> None:
        """Take no new work, and give what runs ``grace_s`` from now. Only the first call counts."""
        if self._cutting_off is None:
            self._cutting_off = asyncio.create_task(self._cut_off())

    async def close(self) -> None:
        """Return when nothing runs any more."""
        self.begin_shutdown()
        assert self._cutting_off is not None
        await self._cutting_off

    async def _cut_off(self) -> None:
        if self._tasks:
            logger.info("waiting for migrations", running=len(self._tasks), grace_s=self._grace_s)
            _, late = await asyncio.wait(self._tasks, timeout=self._grace_s)
            for task in late:
                task.cancel()
            if late:
                logger.warning("migrations cut off", count=len(late))
                await asyncio.wait(late, timeout=_CUT_OFF_S)

    async def _entered(self, gate: asyncio.Lock | asyncio.Semaphore, stack: contextlib.AsyncExitStack) -> bool:
        self.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await gate.acquire()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        stack.callback(gate.release)
        return True

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Looked at, since the request that would have done so may be gone.
            task.exception()


def _shutting_down() -> Problem:
    return Problem("shutting_down", "The service is stopping; another instance, or this one later, goes on.")
