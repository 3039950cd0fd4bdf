"""Ends tasks that work in the background, such as those that poll."""

from __future__ import annotations

import asyncio
from typing import Any

_AGAIN_S = 1.0


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel ``tasks``, and return when all have ended, in whatever way. Their exceptions are dropped.

    A cancellation can be lost: if a connection fails while it is being released or a transaction is being rolled back,
    that error replaces it, and a task that continues after errors does not end. So it is repeated every second.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
