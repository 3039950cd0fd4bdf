"""The queue of runs: PgQueuer carries items of work to replicas, over the service's pool and its listening connection.

An item only causes the rows to be read: they state what has to be done, and the engine's lock decides who does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import UUID

import msgspec
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.models import AnyEvent
from pgqueuer.errors import RetryRequested

from pgdbm.core.pool import without_reset
from pgdbm.core.templating import render_query

from ..database.failures import is_unavailable, misses_service_schema
from ..database.pool import TablesReplacedError
from ..database.queue_schema import SETTINGS, queries_over
from ..database.retrying import until_available
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

    from pgqueuer.domain.models import Job
    from pgqueuer.ports.driver import NotifyCallback

    from pgdbm.core.connection import Connection

    from ..database.idle import Idle
    from ..database.pool import Database
    from .notifier import Notifier

T = TypeVar("T")

ENTRYPOINT = "run"
_PAUSE_S = 2.0
_WRITTEN_WITHIN_S = 30.0
_CHECK_EVERY_S = 30.0
# Tables cannot be dropped and recreated, with all of the service's migrations, in less.
_CHECK_EVERY_BUSY_S = 0.05

logger = structlog.get_logger("pgdbm_service")
# PgQueuer would log each item that is put back.
logging.getLogger("pgqueuer").setLevel(logging.WARNING)


class Item(msgspec.Struct, frozen=True):
    """A chunk of the schemas of a run or, for a run of several modules, the position of the child that has ended."""

    run: UUID
    chunk: int
    of_all: bool = False


class RetryLater(Exception):
    """An item cannot be processed now: it is put back into the queue for ``after_s`` seconds."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"again in {after_s:g} s")
        self.after_s = after_s


async def enqueue(connection: Any, items: Sequence[Item], *, priority: int) -> None:
    """Put ``items`` into the queue, in the transaction of ``connection``. Items that are already in the queue are
    unchanged."""
    await queries_over(AsyncpgDriver(connection)).enqueue(
        [ENTRYPOINT] * len(items),
        [msgspec.json.encode(item) for item in items],
        [priority] * len(items),
        dedupe_key=[f"{item.run}:{item.chunk}" for item in items],
        on_conflict="skip",
    )


class _Manager(QueueManager):
    """Sends fewer statements while there is nothing to do, and none while ``idle`` is paused."""

    idle: Idle

    async def fetch_jobs(
        self, batch_size: int, global_concurrency_limit: int | None, heartbeat_timeout: timedelta
    ) -> AsyncGenerator[Job, None]:
        await self.idle.until_active()
        async for job in super().fetch_jobs(batch_size, global_concurrency_limit, heartbeat_timeout):
            yield job

    async def _effective_dequeue_timeout(self, dequeue_timeout: timedelta) -> timedelta:
        """The time until the next item is due, at most ``dequeue_timeout``. PgQueuer itself would send three
        statements."""
        rows = await self.queries.driver.fetch(render_query(statement("runs", "due_in"), SERVICE_SCHEMA))
        due_in = rows[0]["due_in"]
        if not isinstance(due_in, timedelta):
            return dequeue_timeout
        return min(max(due_in, self.min_dequeue_poll_interval), dequeue_timeout)

    async def _run_periodic_health_check(self, interval: timedelta = timedelta(0)) -> None:
        """Sends nothing, because the notifier checks the listening connection. PgQueuer's notifications would end the
        pause of an idle service."""
        await self.shutdown.wait()

    async def verify_structure(self) -> None:
        """Does nothing, because the tables were created or upgraded at startup. The check would take a query per
        column."""


class Queue:
    """Calls ``process`` with each item that this replica takes, up to ``limit`` at the same time.

    An item whose replica has sent no heartbeat for ``stale_s`` seconds is delivered to another one.
    """

    def __init__(
        self,
        database: Database,
        notifier: Notifier,
        process: Callable[[Item], Awaitable[None]],
        *,
        limit: int,
        stale_s: float,
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._driver: _RetryingDriver | None = None
        self._process = process
        # PgQueuer needs at least twice the batch size; a surplus item waits for a slot.
        self._limit = max(2, limit)
        self._stale = timedelta(seconds=stale_s)
        self._manager: _Manager | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="take runs from the queue")

    def begin_shutdown(self) -> None:
        """Take no more items."""
        self._stopping = True
        self._database.idle.note()
        if self._driver is not None:
            self._driver.give_up()
        if self._manager is not None:
            self._manager.shutdown.set()

    async def close(self) -> None:
        """Return when the items that were taken have been processed or put back into the queue."""
        self.begin_shutdown()
        if self._running is not None:
            if not self._database.connected.is_set():
                self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        await self._database.connected.wait()
        while not self._stopping:
            self._driver = driver = _RetryingDriver(self._database, self._notifier)
            manager = _Manager(queries_over(driver), channel=SETTINGS.channel)
            manager.idle = self._database.idle
            manager.entrypoint(ENTRYPOINT)(self._take_with(driver))
            self._manager = manager
            try:
                # Done here, so that the first run does not have to.
                await driver.fetch(render_query(statement("runs", "queue_types"), SERVICE_SCHEMA))
                await manager.run(
                    dequeue_timeout=self._stale / 2,
                    batch_size=1,
                    max_concurrent_tasks=self._limit,
                    heartbeat_timeout=self._stale,
                    log_aggregation_interval=timedelta(0),
                )
            except Exception as error:
                if self._stopping:
                    return
                if isinstance(error, TablesReplacedError) or misses_service_schema(error):
                    logger.warning("the queue was dropped")
                elif is_unavailable(error):
                    logger.warning("the queue cannot be reached", error_type=type(error).__name__)
                else:
                    logger.error("the queue failed", exc_info=error)
                await asyncio.sleep(_PAUSE_S)

    def _take_with(self, driver: _RetryingDriver) -> Callable[[Job], Awaitable[None]]:
        async def take(job: Job) -> None:
            assert job.payload is not None
            with driver.item(), self._database.idle.working():
                try:
                    await self._process(msgspec.json.decode(job.payload, type=Item))
                except RetryLater as later:
                    raise RetryRequested(delay=timedelta(seconds=later.after_s), reason=str(later)) from None

        return take


class _RetryingDriver:
    """PgQueuer's port to the database: waits while that is unavailable, until :meth:`give_up`.

    It refuses tables that were recreated after it: their item numbers start from the beginning and would be confused.
    """

    def __init__(self, database: Database, notifier: Notifier) -> None:
        self._database = database
        self._table_id = database.table_id
        self._notifier = notifier
        self._given_up = asyncio.Event()
        self._listeners: dict[tuple[str, NotifyCallback], Callable[[str], None]] = {}
        self._items = 0
        self._items_until = 0.0
        self._checked_at = -_CHECK_EVERY_S

    def give_up(self) -> None:
        self._given_up.set()

    @contextlib.contextmanager
    def item(self) -> Iterator[None]:
        """A block in which an item is processed. PgQueuer writes the outcome a little later."""
        self._items += 1
        try:
            yield
        finally:
            self._items -= 1
            self._items_until = asyncio.get_running_loop().time() + _WRITTEN_WITHIN_S

    def _needs_check(self) -> bool:
        """Often while there are items, otherwise rarely: an idle service should send few statements."""
        now = asyncio.get_running_loop().time()
        is_busy = self._items > 0 or now < self._items_until
        return now > self._checked_at + (_CHECK_EVERY_BUSY_S if is_busy else _CHECK_EVERY_S)

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        rows = await self._retried(lambda connection: connection.fetch(query, *args))
        return [dict(row) for row in rows]

    async def execute(self, query: str, *args: object) -> str:
        status: str = await self._retried(lambda connection: connection.execute(query, *args))
        return status

    async def notify(self, channel: str, payload: str) -> None:
        await self.execute("SELECT pg_catalog.pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        def pass_on(payload: str) -> None:
            # Any user of the database can send something else, which PgQueuer would log with a traceback.
            with contextlib.suppress(ValueError):
                AnyEvent.model_validate_json(payload)
                callback(payload)

        self._listeners[channel, callback] = pass_on
        self._notifier.subscribe(channel, pass_on)

    async def remove_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._notifier.unsubscribe(channel, self._listeners.pop((channel, callback)))

    @property
    def shutdown(self) -> asyncio.Event:
        return self._given_up

    @property
    def tm(self) -> TaskManager:
        return TaskManager()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def _retried(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def attempt() -> T:
            async with self._database.manager().acquire() as connection:
                if self._needs_check():
                    await self._database.check_tables(connection, self._table_id)
                    self._checked_at = asyncio.get_running_loop().time()
                return await work(connection)

        with without_reset():
            return await until_available(attempt, self._given_up)
