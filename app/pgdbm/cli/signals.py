"""Run the coroutine of a command until it ends, or is interrupted."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any


class TerminatedError(Exception):
    """The process received SIGTERM. The statement that was running is canceled on the server."""


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that leaves the idle threads of its executor to the end of the process, which waits for them."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing: it would start another thread in order to wait."""


def run_to_end(work: Coroutine[Any, Any, int | None]) -> int | None:
    """The result of ``work``. On an interrupt the running statement is canceled on the server first.

    Raises:
        KeyboardInterrupt: SIGINT.
        TerminatedError: SIGTERM.
    """
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(_until_terminated(work))


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
