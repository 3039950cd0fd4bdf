"""A look at the database that many ask for at once, and that costs as much for all of them as for one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class SharedLook(Generic[T]):
    """Whoever comes while a look is under way shares the next one: that sees all that was there when they came.

    One look is under way at a time. What it raises, it raises for all who share it.
    """

    def __init__(self, look: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._look = look
        self._looking = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """What a look saw that began after this call did. A caller who is cancelled leaves it to the others."""
        if self._next is None:
            self._next = asyncio.create_task(self._in_turn())
            self._next.add_done_callback(_notice)
        return await asyncio.shield(self._next)

    async def _in_turn(self) -> T:
        async with self._looking:
            self._next = None
            return await self._look()


def _notice(look: asyncio.Task[Any]) -> None:
    """Those who asked may have gone by now."""
    if not look.cancelled():
        look.exception()
