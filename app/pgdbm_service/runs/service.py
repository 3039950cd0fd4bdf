"""Creates the objects that submit, process and show runs, and starts their background work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import structlog

from pgdbm.core.lru import LRUCache
from pgdbm.core.pool import without_reset
from pgdbm.core.tasks import cancel_and_wait
from pgdbm.version import __version__

from ..database.failures import is_unavailable
from .all_modules import AllModules
from .approvals import RunApprovals
from .attempts import Attempts
from .backfills import BackfillService
from .changes import RunChanges
from .child_runs import ChildRuns
from .create import RunCreator
from .dry_run import DryRuns
from .freezes import Freezes
from .idempotency import IdempotencyKeys
from .notifier import Notifier
from .plan_binding import PlanBinding
from .queries import RunQueries
from .queue import Queue
from .recent import RecentRuns
from .start_conditions import StartConditions
from .store import Store
from .streams import RunStreams
from .submit import RunSubmitter
from .targets import Targets
from .wait import RunWaiter
from .worker import Worker

if TYPE_CHECKING:
    from pgdbm.migrations.engine.plan import ReadPlan

    from ..database.pool import Database
    from ..database.slots import Slots
    from ..observability.run_observer import Observer
    from ..registry.store import RegistrationStore
    from ..settings import Settings
    from ..status.module_lookup import ModuleLookup
    from ..status.summaries import Summaries
    from .queue import Item

_RECOVER_EVERY_S = 60.0
_PRUNE_EVERY_S = 300.0
_PLANS_KEPT = 16
# The SQL statements that send notifications contain the name of the channel.
_CANCEL_CHANNEL = "pgdbm_service_cancel"

logger = structlog.get_logger("pgdbm_service")


class RunService:
    """``replica`` identifies this process in the rows. Streams send a comment after ``keep_alive_s`` of silence."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        slots: Slots,
        registrations: RegistrationStore,
        lookup: ModuleLookup,
        summaries: Summaries,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._database = database
        self.replica = uuid4()
        self.keep_alive_s = settings.stream_keep_alive_s
        self.notifier = Notifier(database)
        self.store = Store(database, settings.takeover_s)
        children = ChildRuns(database)
        self.queries = RunQueries(database, children)
        self.streams = RunStreams(self.queries, self.notifier)
        self.backfills = BackfillService(lookup)
        self.recent = RecentRuns(database, settings.takeover_s)
        self.changes = RunChanges(self.recent, self.notifier)
        self.freezes = Freezes(database)
        binding = PlanBinding(lookup)
        self.approvals = RunApprovals(database, binding, self.store)
        self.start_conditions = StartConditions(lookup.policies, self.freezes, binding, self.approvals)
        # Work that has started waits for the database, but a request does not.
        patient_store = Store(database, settings.takeover_s, slots.shutting_down)
        # Its worker usually takes a run as soon as it is created, and need not read the history again for its plan.
        known_plans: LRUCache[UUID, ReadPlan] = LRUCache(_PLANS_KEPT)
        self._attempts = Attempts(
            database,
            slots,
            lookup,
            observer,
            patient_store,
            self.replica,
            known_plans,
            login_slots=settings.login_migrations,
            stale_s=settings.takeover_s,
        )
        worker = Worker(slots, lookup, summaries, patient_store, self._attempts, self.start_conditions, self.replica)
        self.streams.until_idle = worker.until_idle
        keys = IdempotencyKeys(self.store, children, lookup)
        self.waiter = RunWaiter(self.queries, self.streams, worker)
        targets = Targets(lookup, summaries)
        creator = RunCreator(slots, registrations, lookup, summaries, self.store, self.start_conditions, known_plans)
        dry_runs = DryRuns(database, lookup, targets)
        self.submitter = RunSubmitter(
            database, keys, targets, creator, dry_runs, self.waiter, self.queries, binding, self.approvals
        )
        self.all_modules = AllModules(
            database,
            slots,
            registrations,
            lookup,
            self.store,
            children,
            self.queries,
            self.submitter,
            targets,
            keys,
            self.waiter,
            self.replica,
        )

        async def process(item: Item) -> None:
            await (self.all_modules.process(item.run) if item.of_all else worker.process(item))

        self._queue = Queue(
            database,
            self.notifier,
            process,
            limit=settings.migration_connections,
            stale_s=settings.takeover_s,
        )
        self._maintenance: asyncio.Task[None] | None = None
        self.notifier.subscribe(_CANCEL_CHANNEL, self._cancel)

    def start(self) -> None:
        self.notifier.start()
        self._queue.start()
        self._maintenance = asyncio.create_task(self._maintain(), name="heartbeat of this replica")

    def begin_shutdown(self) -> None:
        self._queue.begin_shutdown()
        self.streams.begin_shutdown()
        self.changes.begin_shutdown()

    async def close(self) -> None:
        await self._queue.close()
        await self.streams.close()
        await self.changes.close()
        if self._maintenance is not None:
            await cancel_and_wait(self._maintenance)
        await self.notifier.close()
        if self._database.connected.is_set():
            try:
                await self._database.with_timeout(self.store.deregister(self.replica))
            except Exception as error:
                logger.warning("replica not deregistered", error_type=type(error).__name__)

    def _cancel(self, payload: str) -> None:
        with contextlib.suppress(ValueError):
            self._attempts.check_cancelled(UUID(payload))

    async def _maintain(self) -> None:
        await self._database.connected.wait()
        host, pid = socket.gethostname(), os.getpid()
        loop = asyncio.get_running_loop()
        recovered = pruned = -_PRUNE_EVERY_S
        idle = self._database.idle
        while True:
            await idle.until_active()
            try:
                with without_reset():
                    await self.store.heartbeat(self.replica, host, pid, __version__)
                    if loop.time() - recovered >= _RECOVER_EVERY_S:
                        recovered = loop.time()
                        await self.store.recover_items()
                        await self.freezes.wake()
                        await self.approvals.void_moved()
                    if loop.time() - pruned >= _PRUNE_EVERY_S:
                        pruned = loop.time()
                        await self.store.prune(self._settings.run_retention_days)
                        await self.freezes.prune()
                    if idle.is_due and not await self.store.has_active_runs() and idle.is_due:
                        idle.pause()
            except Exception as error:
                if not is_unavailable(error):
                    logger.error("maintenance of runs failed", exc_info=error)
            await asyncio.sleep(self._settings.takeover_s / 3)
