"""PgQueuer: carries items of work to replicas, over our pool and our one listening connection.

What is in the queue is only a reason to look: rows say what is to be done, and the engine's lock who does it.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import msgspec
import structlog
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.core.qm import QueueManager
from pgqueuer.core.tm import TaskManager
from pgqueuer.errors import RetryRequested

from ..errors import Problem, is_database_away
from ..queue_tables import SETTINGS, queries_over

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pgqueuer.domain.models import Job
    from pgqueuer.ports.driver import NotifyCallback

    from ..database import Database
    from .listening import Listener

ENTRYPOINT = "run"
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

logger = structlog.get_logger("pgdbm_service")
# That an item comes back later is nothing to tell an operator.
logging.getLogger("pgqueuer").setLevel(logging.WARNING)


class Item(msgspec.Struct, frozen=True):
    """A chunk of the schemas of a run; of a run of all modules, the part after which it goes on."""

    run: UUID
    chunk: int
    of_all: bool = False


class ComeBackError(Exception):
    """An item cannot be worked on now: it goes back into the queue for ``after_s``."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"again in {after_s:g} s")
        self.after_s = after_s


async def enqueue(connection: Any, items: Sequence[Item], *, priority: int) -> None:
    """Put ``items`` into the queue, in the transaction of ``connection``; what is there already is left alone."""
    await queries_over(AsyncpgDriver(connection)).enqueue(
        [ENTRYPOINT] * len(items),
        [msgspec.json.encode(item) for item in items],
        [priority] * len(items),
        dedupe_key=[f"{item.run}:{item.chunk}" for item in items],
        on_conflict="skip",
    )


class _Manager(QueueManager):
    async def verify_structure(self) -> None:
        """Nothing: the tables were made, or brought up to date, at the start. It would take a query for each column."""


class Queue:
    """One worker of the queue: takes ``limit`` items at once at most, and calls ``deliver`` with each.

    An item whose worker has not been heard of for ``stale_s`` is delivered to another one.
    """

    def __init__(
        self,
        database: Database,
        listener: Listener,
        deliver: Callable[[Item], Awaitable[None]],
        *,
        limit: int,
        stale_s: float,
    ) -> None:
        self._database = database
        self._driver = _PatientDriver(database, listener)
        self._deliver = deliver
        # PgQueuer wants twice the size of a batch at least; one item too many waits for a slot here.
        self._limit = max(2, limit)
        self._stale = timedelta(seconds=stale_s)
        self._manager: _Manager | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="take runs from the queue")

    def begin_shutdown(self) -> None:
        """Take nothing more."""
        self._stopping = True
        self._driver.give_up()
        if self._manager is not None:
            self._manager.shutdown.set()

    async def close(self) -> None:
        """Return when what was taken is done or back in the queue."""
        self.begin_shutdown()
        if self._running is not None:
            if not self._database.connected.is_set():
                self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        await self._database.connected.wait()
        while not self._stopping:
            manager = _Manager(queries_over(self._driver), channel=SETTINGS.channel)
            manager.entrypoint(ENTRYPOINT)(self._take)
            self._manager = manager
            try:
                await manager.run(
                    dequeue_timeout=self._stale / 4,
                    batch_size=1,
                    max_concurrent_tasks=self._limit,
                    heartbeat_timeout=self._stale,
                    log_aggregation_interval=timedelta(0),
                )
            except Exception as error:
                if self._stopping:
                    return
                if isinstance(error, Problem):
                    logger.error("the queue cannot be used", reason=error.detail)
                elif is_database_away(error):
                    logger.warning("the queue cannot be reached", error_type=type(error).__name__)
                else:
                    logger.error("the queue failed", exc_info=error)
                await asyncio.sleep(_LONGEST_PAUSE_S)

    async def _take(self, job: Job) -> None:
        assert job.payload is not None
        try:
            await self._deliver(msgspec.json.decode(job.payload, type=Item))
        except ComeBackError as later:
            raise RetryRequested(delay=timedelta(seconds=later.after_s), reason=str(later)) from None


class _PatientDriver:
    """PgQueuer's port to a database that may be away for a while: waits for it, until told to give up."""

    def __init__(self, database: Database, listener: Listener) -> None:
        self._database = database
        self._listener = listener
        self._given_up = asyncio.Event()
        self._callbacks: dict[Any, Callable[[str], None]] = {}

    def give_up(self) -> None:
        self._given_up.set()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        rows = await self._patiently(lambda connection: connection.fetch(query, *args))
        return [dict(row) for row in rows]

    async def execute(self, query: str, *args: object) -> str:
        status: str = await self._patiently(lambda connection: connection.execute(query, *args))
        return status

    async def notify(self, channel: str, payload: str) -> None:
        await self.execute("SELECT pg_catalog.pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._listener.subscribe(channel, callback)

    async def remove_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._listener.unsubscribe(channel, callback)

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

    async def _patiently(self, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with self._database.manager().acquire() as connection:
                    # In tables that were made anew the numbers of items begin anew: ours would be those of others.
                    await self._database.check_tables(connection)
                    return await ask(connection)
            except Exception as error:
                if self._given_up.is_set() or not is_database_away(error):
                    raise
            try:
                async with asyncio.timeout(pause):
                    await self._given_up.wait()
            except TimeoutError:
                pause = min(pause * 2, _LONGEST_PAUSE_S)
