"""A TCP proxy in front of several replicas: it connects to the first that lives, and cuts idle connections."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

_DEADLINE_S = 30


class FrontProxy:
    """``with FrontProxy(ports, idle_s=60) as proxy``: ``proxy.url`` leads to the first port that accepts.

    A connection without a byte in either direction for ``idle_s`` is closed, as load balancers do. ``cut`` counts them.
    """

    def __init__(self, ports: Sequence[int], idle_s: float | None = None) -> None:
        self._ports = ports
        self._idle_s = idle_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.cut = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_DEADLINE_S)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_DEADLINE_S)

    async def _end(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # The tasks that copy their data are cancelled, too, and end in the next iteration of the event loop.
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            for port in self._ports:
                with contextlib.suppress(OSError):
                    await self._forward(reader, writer, *await asyncio.open_connection("127.0.0.1", port))
                    return
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_target: asyncio.StreamReader,
        to_target: asyncio.StreamWriter,
    ) -> None:
        active = asyncio.Event()
        copies = {
            asyncio.ensure_future(_copy(reader, to_target, active)),
            asyncio.ensure_future(_copy(from_target, writer, active)),
        }
        try:
            while True:
                active.clear()
                waiting = asyncio.ensure_future(active.wait())
                try:
                    done, _ = await asyncio.wait(
                        {*copies, waiting}, timeout=self._idle_s, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    waiting.cancel()
                if not done:
                    self.cut += 1
                if not done or done & copies:
                    return
        finally:
            for copy in copies:
                copy.cancel()
            to_target.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, active: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            active.set()
            writer.write(data)
            await writer.drain()
