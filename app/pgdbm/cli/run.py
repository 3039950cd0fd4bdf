"""Running a command's coroutine until it ends or is told to."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any


class TerminatedError(Exception):
    """SIGTERM came. What was running is cancelled on the server too."""


def run_to_end(work: Coroutine[Any, Any, int | None]) -> int | None:
    """What ``work`` returns.

    Raises:
        KeyboardInterrupt: Ctrl-C; what the server was doing for us is cancelled first.
        TerminatedError: the same by SIGTERM.
    """
    return asyncio.run(_until_terminated(work))


async def _until_terminated(work: Coroutine[Any, Any, int | None]) -> int | None:
    task = asyncio.ensure_future(work)
    terminated = False

    def stop() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if terminated:
            raise TerminatedError from None
        raise
