"""What is started and stopped with the service, in which order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from pgdbm.errors import AsyncDBError

from .settings import SettingsError, unknown_variables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from litestar import Litestar

    from .database import Database
    from .executor import Executor
    from .settings import Settings
    from .tracing import Tracing

logger = structlog.get_logger("pgdbm_service")


class Background(Protocol):
    """What works beside the requests, over the pool."""

    def start(self) -> None:
        """Begin; there may be no connection yet."""

    def begin_shutdown(self) -> None:
        """Begin nothing new."""

    async def close(self) -> None:
        """Return when nothing is left to do."""


def lifespan_of(
    settings: Settings,
    database: Database,
    executor: Executor,
    tracing: Tracing | None,
    background: Sequence[Background] = (),
) -> Callable[[Litestar], contextlib.AbstractAsyncContextManager[None]]:
    """The service's lifespan: a database server of our own if there is no other, the pool, the migrations.

    On the way out migrations end first, then what works in the background, then the pool closes, then the server stops.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
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
            stack.push_async_callback(executor.close)

            def begin_shutdown() -> None:
                executor.begin_shutdown()
                for one in background:
                    one.begin_shutdown()

            stack.callback(begin_shutdown)
            stack.enter_context(_told_to_stop(begin_shutdown))
            yield

    return lifespan


async def _start_embedded(settings: Settings, stack: contextlib.AsyncExitStack) -> str:
    from pgdbm.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(settings.data_dir)
    logger.info("starting the embedded PostgreSQL", data_dir=str(settings.data_dir))
    try:
        await asyncio.to_thread(server.start)
    except AsyncDBError as error:
        raise SettingsError(
            f"DATABASE_URL is not set, and the embedded PostgreSQL in '{settings.data_dir}' does not start: "
            f"{' '.join(error.message.split())}"
        ) from error
    stack.push_async_callback(asyncio.to_thread, server.stop)
    return server.dsn()


@contextlib.contextmanager
def _told_to_stop(tell: Callable[[], None]) -> Iterator[None]:
    """Call ``tell`` as soon as SIGINT or SIGTERM comes, before the server's own handler.

    The server waits for requests before it ends the lifespan; the grace period of what they wait for must begin
    with the signal, or the two would wait for each other.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    theirs: dict[int, Any] = {}

    def on_signal(number: int, frame: Any) -> None:
        loop.call_soon_threadsafe(tell)
        previous = theirs[number]
        if callable(previous):
            previous(number, frame)

    for number in (signal.SIGINT, signal.SIGTERM):
        theirs[number] = signal.getsignal(number)
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for stopped, previous in theirs.items():
            signal.signal(stopped, previous)
