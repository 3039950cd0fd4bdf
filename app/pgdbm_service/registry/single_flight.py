"""One execution shared by all concurrent callers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Calls ``work`` once for all callers that arrive while an earlier call is running.

    One call runs at a time. Each caller gets the result of a call that started after it arrived, or its exception.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work = work
        self._running = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """The result of ``work``. The call continues if this caller is cancelled."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
            self._next.add_done_callback(_retrieve)
        return await asyncio.shield(self._next)

    async def _run(self) -> T:
        async with self._running:
            self._next = None
            return await self._work()


def _retrieve(task: asyncio.Task[object]) -> None:
    """Retrieve the exception, because all callers may have been cancelled."""
    if not task.cancelled():
        task.exception()
