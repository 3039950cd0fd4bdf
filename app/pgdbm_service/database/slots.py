"""Limits how many migrations run at the same time, and lets them finish when the service stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import structlog

from ..errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping

T = TypeVar("T")

# A cancelled migration rolls back; on a dead network that cannot be waited for.
_CUT_OFF_S = 5.0

_POLL_S = 0.1
# The principal of every request without auth.
_ANONYMOUS = "anonymous"

current_principal: ContextVar[str] = ContextVar("current_principal", default=_ANONYMOUS)
"""The principal of the current request."""

logger = structlog.get_logger("pgdbm_service")


class Slots:
    """Owns the migration tasks.

    ``limit``: how many migrations may run at the same time; a call waits up to ``wait_s`` seconds for a slot. When the
    service stops, running tasks have ``grace_s`` seconds from ``begin_shutdown`` to finish, then they are cancelled.
    ``migrating`` is the number of slots in use, ``waiting`` the number of calls that wait for one. ``shutting_down``
    is set by ``begin_shutdown``.
    """

    def __init__(self, *, limit: int, wait_s: float, grace_s: float) -> None:
        self.limit = limit
        self.migrating = 0
        self.waiting = 0
        self._slots = asyncio.Semaphore(limit)
        self._wait_s = wait_s
        self._grace_s = grace_s
        self._tasks: set[asyncio.Task[object]] = set()
        self._shares: Counter[str] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.shutting_down = asyncio.Event()
        self._cutting_off: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        return self.shutting_down.is_set()

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``work``, which continues if the caller is cancelled.

        Raises:
            ServiceError: shutting_down, if the service is stopping, or stopped before ``work`` was finished.
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
    async def acquire(self, module: str) -> AsyncIterator[None]:
        """Hold one of the slots, at most one per ``module``. Waiting for it takes no connection.

        Raises:
            ServiceError: lock_timeout or busy, after ``wait_s``.
        """
        lock = self._turns.setdefault(module, asyncio.Lock())
        async with contextlib.AsyncExitStack() as stack:
            if not await self._entered(lock, stack):
                raise ServiceError(
                    "lock_timeout",
                    f"Another request to this replica has been migrating {module} for over {self._wait_s:g} s.",
                    module=module,
                    waited_s=self._wait_s,
                )
            if not await self._shared(stack):
                raise ServiceError(
                    "busy",
                    f"For {self._wait_s:g} s, other requests by this principal have been using "
                    f"all the slots that it may use.",
                )
            if not await self._entered(self._slots, stack):
                raise ServiceError(
                    "busy", f"{self.limit} migrations are running; none finished within {self._wait_s:g} s."
                )
            self.migrating += 1
            try:
                yield
            finally:
                self.migrating -= 1

    @contextlib.asynccontextmanager
    async def reserve(self) -> AsyncIterator[None]:
        """Hold one of the slots; waits for one without a limit."""
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

    def most_for(self, principal: str) -> dict[str, int]:
        """The share of ``principal``, for :meth:`share`: all slots but one, so that others can still migrate."""
        return {} if principal == _ANONYMOUS else {f"principal {principal}": max(1, self.limit - 1)}

    @contextlib.contextmanager
    def share(self, most: Mapping[str, int]) -> Iterator[bool]:
        """Count one slot for each of the users in ``most``, which has the maximum number of slots of each.

        The value is False if one of them is already at its limit; then nothing is counted.
        """
        free = all(self._shares[name] < limit for name, limit in most.items())
        if free:
            self._shares.update(most.keys())
        try:
            yield free
        finally:
            if free:
                self._shares.subtract(most.keys())

    def begin_shutdown(self) -> None:
        """Accept no new work, and cancel what still runs after ``grace_s``. Only the first call has an effect."""
        if self._cutting_off is None:
            self.shutting_down.set()
            self._cutting_off = asyncio.create_task(self._cut_off())

    async def close(self) -> None:
        """Return when no task is running."""
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

    async def _shared(self, stack: contextlib.AsyncExitStack) -> bool:
        """Count a slot for the request's principal; False if there is none after ``wait_s``."""
        most = self.most_for(current_principal.get())
        deadline = asyncio.get_running_loop().time() + self._wait_s
        while not stack.enter_context(self.share(most)):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Retrieve the exception, or asyncio would log it, because the request that waited for it may have ended.
            task.exception()


def _shutting_down() -> ServiceError:
    return ServiceError(
        "shutting_down", "The service is stopping. Another replica, or this one after its restart, will continue."
    )
