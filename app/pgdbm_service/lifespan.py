"""Starts and stops the parts of the service, in order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from pgdbm.errors import AsyncDBError
from pgdbm.text import sentence

from .settings import SettingsError, unknown_variables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from types import FrameType

    from litestar import Litestar

    from .database.pool import Database
    from .database.slots import Slots
    from .observability.tracing import Tracing
    from .settings import Settings

logger = structlog.get_logger("pgdbm_service")

# From glibc's malloc.h: the number of each option, and the environment variable for it.
_M_TRIM_THRESHOLD = (-1, "MALLOC_TRIM_THRESHOLD_")
_M_MMAP_THRESHOLD = (-3, "MALLOC_MMAP_THRESHOLD_")
_M_ARENA_MAX = (-8, "MALLOC_ARENA_MAX")
_RETURNED_FROM = 256 * 1024


class Background(Protocol):
    """Background work that uses the pool."""

    def start(self) -> None:
        """Start; there may be no connection yet."""

    def begin_shutdown(self) -> None:
        """Start no new work."""

    async def close(self) -> None:
        """Return when the work has ended."""


def lifespan_of(
    settings: Settings,
    database: Database,
    slots: Slots,
    tracing: Tracing | None,
    background: Sequence[Background] = (),
) -> Callable[[Litestar], contextlib.AbstractAsyncContextManager[None]]:
    """The service's lifespan: the embedded server if no other is configured, the pool, the background work.

    At shutdown, migrations end first, then the background work; then the pool closes, and finally the server stops.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        return_freed_memory()
        for name in unknown_variables():
            logger.warning("unknown variable", name=name)
        async with contextlib.AsyncExitStack() as stack:
            if tracing is not None:
                stack.push_async_callback(asyncio.to_thread, tracing.shut_down)
            url = settings.database_url
            if url is None:
                try:
                    url = await _start_embedded(settings, stack)
                except SettingsError as error:
                    app.state.start_error = str(error)
                    raise
            stack.push_async_callback(database.close)
            database.begin(url)
            for one in background:
                stack.push_async_callback(one.close)
                one.start()
            stack.push_async_callback(slots.close)

            def begin_shutdown() -> None:
                slots.begin_shutdown()
                for one in background:
                    one.begin_shutdown()

            stack.callback(begin_shutdown)
            stack.enter_context(_on_stop_signal(begin_shutdown))
            yield

    return lifespan


def return_freed_memory() -> None:
    """Let malloc return freed memory to the system; without glibc, this does nothing.

    The parser takes a hundred times the size of a file, in a thread. By default each thread has its own arena, and
    memory that is freed in it stays with the process: a few large files would take hundreds of megabytes permanently.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for (option, variable), value in (
        (_M_ARENA_MAX, 2),
        (_M_MMAP_THRESHOLD, _RETURNED_FROM),
        (_M_TRIM_THRESHOLD, _RETURNED_FROM),
    ):
        if variable not in os.environ:
            mallopt(option, value)


async def _start_embedded(settings: Settings, stack: contextlib.AsyncExitStack) -> str:
    from pgdbm.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(settings.data_dir)
    logger.info("starting the embedded PostgreSQL", data_dir=str(settings.data_dir))
    try:
        await asyncio.to_thread(server.start)
    except AsyncDBError as error:
        raise SettingsError(
            sentence(
                f"DATABASE_URL is not set, and the embedded PostgreSQL in '{settings.data_dir}' does not start: "
                f"{' '.join(error.message.split())}"
            )
        ) from error
    stack.push_async_callback(asyncio.to_thread, server.stop)
    return server.dsn()


@contextlib.contextmanager
def _on_stop_signal(callback: Callable[[], None]) -> Iterator[None]:
    """Call ``callback`` on SIGINT and SIGTERM, before the server's own handler.

    The server waits for requests before it ends the lifespan. So the grace period of the work that they wait for must
    begin with the signal, or the two would wait for each other.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    handlers: dict[int, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)
        previous = handlers[number]
        if callable(previous):
            previous(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        handlers[number] = signal.getsignal(number)
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for handled, previous in handlers.items():
            signal.signal(handled, previous)
