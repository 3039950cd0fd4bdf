"""The parts of runs, put together, and what goes on beside the requests."""

from __future__ import annotations

import asyncio
import os
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import structlog

from ..errors import is_database_away
from .accepting import Acceptor
from .all_modules import AllModules
from .feeds import Feeds
from .listening import Listener
from .parts import Parts
from .queue import Queue
from .reading import Reader
from .statements import CANCEL_CHANNEL
from .store import Store
from .worker import Worker

if TYPE_CHECKING:
    from ..database import Database
    from ..executor import Executor
    from ..managers import Managers
    from ..observer import Observer
    from ..settings import Settings
    from ..summaries import Summaries
    from .queue import Item

_TIDY_EVERY_S = 60.0

logger = structlog.get_logger("pgdbm_service")


class Runs:
    """``instance`` is this process, as others see it in the rows."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        executor: Executor,
        managers: Managers,
        summaries: Summaries,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._database = database
        self.instance = uuid4()
        self.listener = Listener(database)
        self.store = Store(database, settings.takeover_s)
        parts = Parts(database)
        self.reader = Reader(database, parts)
        self.feeds = Feeds(self.reader, self.listener)
        self.worker = Worker(
            database, executor, managers, summaries, observer, self.store, self.instance, settings.takeover_s
        )
        self.acceptor = Acceptor(database, executor, managers, self.store, self.reader, self.feeds, self.worker)
        self.all_modules = AllModules(
            database, executor, managers, self.store, parts, self.reader, self.acceptor, self.instance
        )
        self._queue = Queue(
            database,
            self.listener,
            self._deliver,
            limit=settings.migration_connections,
            stale_s=settings.takeover_s,
        )
        self._living: asyncio.Task[None] | None = None
        self.listener.subscribe(CANCEL_CHANNEL, self._cancel)

    def start(self) -> None:
        self.listener.start()
        self._queue.start()
        self._living = asyncio.create_task(self._live(), name="show that this instance is alive")

    def begin_shutdown(self) -> None:
        self._queue.begin_shutdown()
        self.feeds.begin_shutdown()

    async def close(self) -> None:
        await self._queue.close()
        await self.feeds.close()
        if self._living is not None:
            self._living.cancel()
            await asyncio.gather(self._living, return_exceptions=True)
        await self.listener.close()
        if self._database.connected.is_set():
            try:
                await self._database.within_limit(self.store.say_goodbye(self.instance))
            except Exception as error:
                logger.warning("left without a goodbye", error_type=type(error).__name__)

    async def _deliver(self, item: Item) -> None:
        await (self.all_modules.deliver(item.run) if item.of_all else self.worker.deliver(item))

    def _cancel(self, payload: str) -> None:
        self.worker.cancel(UUID(payload))

    async def _live(self) -> None:
        await self._database.connected.wait()
        host, pid, release = socket.gethostname(), os.getpid(), _release()
        loop = asyncio.get_running_loop()
        tidied = loop.time() - _TIDY_EVERY_S
        while True:
            try:
                await self.store.beat(self.instance, host, pid, release)
                if loop.time() - tidied >= _TIDY_EVERY_S:
                    tidied = loop.time()
                    await self.store.tidy(self._settings.run_retention_days)
            except Exception as error:
                if not is_database_away(error):
                    logger.error("housekeeping failed", exc_info=error)
            await asyncio.sleep(self._settings.takeover_s / 4)


def _release() -> str:
    try:
        return version("pgdbm")
    except PackageNotFoundError:
        return "unknown"
