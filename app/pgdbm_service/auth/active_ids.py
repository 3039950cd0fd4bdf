"""The ids of all active tokens, or sessions: credentials with any other id need not be looked up."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class ActiveIds:
    """The ids that ``read`` returned within the last ``max_age_s`` seconds."""

    def __init__(self, read: Callable[[], Awaitable[frozenset[str]]], max_age_s: float) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._ids: frozenset[str] = frozenset()
        self._read_at = -float("inf")
        self._reading = asyncio.Lock()

    async def has(self, one: str) -> bool:
        """Whether ``one`` is one of the ids. Raises what ``read`` raises."""
        async with self._reading:
            if time.monotonic() - self._read_at > self._max_age_s:
                self._ids = await self._read()
                self._read_at = time.monotonic()
        return one in self._ids
