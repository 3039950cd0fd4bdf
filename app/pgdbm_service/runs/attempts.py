"""Migrates one schema of a run: an attempt takes the schema, migrates it, and records how it ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog

from pgdbm.errors import AsyncDBError, ConfigurationError, MigrationError, MigrationLockTimeoutError
from pgdbm.migrations.engine.blockers import BlockerPolicy
from pgdbm.migrations.engine.migration_plan import plan_digest
from pgdbm.migrations.results import Notice

from ..database.connector import APPLICATION_NAME
from ..database.failures import log_failure, service_error_of
from ..errors import ServiceError, to_document
from .crashes import Suspects
from .plan_checks import Step, applied_steps, plan_moved, require_digest, unfit_for_one_transaction
from .queue import RetryLater
from .recorder import Recorder
from .store import CANARIES

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from uuid import UUID

    from pgdbm.core.lru import LRUCache
    from pgdbm.migrations import AsyncMigrationManager
    from pgdbm.migrations.engine.events import Event
    from pgdbm.migrations.engine.plan import Plan, ReadPlan

    from ..database.pool import Database
    from ..database.slots import Slots
    from ..observability.run_observer import ObservedRun, Observer
    from ..registry.modules import Module
    from ..status.module_lookup import ModuleLookup
    from .queue import Item
    from .store import Store
    from .stored_runs import RunEvent, StartedSchema, TakenRun, UnfinishedSchema

_SOON_S = 1.0
# The queue takes older items first, so refused items must not become due again so often that it never gets to newer
# ones.
_REFUSALS_PER_S = 4.0
_REMEMBERED_S = 120.0
_CHECK_CANCELLED_S = 0.1
# A cancelled statement ends by itself, and the engine records how it ended. An attempt that does not end in time is
# abandoned.
_CANCEL_S = 2.0
# A batch may be what makes the server crash.
_MOST_ATTEMPTS = 5

logger = structlog.get_logger("pgdbm_service")


class Migrated(NamedTuple):
    """The migrations of a schema after an attempt; ``events`` are its last ones, which have not been written."""

    steps: list[Step]
    skipped: int
    total: int
    total_time_ms: float
    events: Sequence[RunEvent] = ()


class Attempt:
    """An attempt that this replica is working on."""

    def __init__(self, recorder: Recorder, task: asyncio.Task[Any]) -> None:
        self.recorder = recorder
        self.task = task
        self.is_cancelled = False


class Attempts:
    """``login_slots``: how many migrations may run on a login's connections. ``known_plans``: plans of new runs in one
    schema, by the id of the run.

    ``stale_s``: seconds after which a replica without a heartbeat is considered dead.
    """

    def __init__(
        self,
        database: Database,
        slots: Slots,
        lookup: ModuleLookup,
        observer: Observer,
        store: Store,
        replica: UUID,
        known_plans: LRUCache[UUID, ReadPlan],
        login_slots: int,
        stale_s: float,
    ) -> None:
        self._database = database
        self._slots = slots
        self._lookup = lookup
        self._observer = observer
        self._store = store
        self._replica = replica
        self._known_plans = known_plans
        self._login_slots = login_slots
        self._stale_s = stale_s
        self._running: dict[UUID, dict[str, Attempt]] = {}
        self._refused: dict[Item, float] = {}
        self._suspects = Suspects(lookup)
        self._cancelling: set[asyncio.Task[None]] = set()

    async def migrate_schema(
        self, item: Item, run: TakenRun, module: Module | ServiceError, unfinished: UnfinishedSchema
    ) -> None:
        """Migrate one schema of a run, or fail it if ``module`` is an error.

        Raises:
            RetryLater: a live replica is working on it, or holds the module's lock.
        """
        schema = unfinished.schema
        if unfinished.is_owned and (unfinished.replica != self._replica or schema in self._running.get(run.id, {})):
            raise RetryLater(self._stale_s / 2)
        with self._slots.share(self._shares(run)) as may_begin:
            if not may_begin:
                # Do not wait for it: that would keep other items from being processed.
                raise RetryLater(self._pause_of(item))
            await self._migrate_in_slot(item, run, module, unfinished)

    def _pause_of(self, item: Item) -> float:
        """Seconds until ``item``, which was refused, is due again: longer if more items are refused."""
        now = asyncio.get_running_loop().time()
        self._refused[item] = now
        self._refused = {one: at for one, at in self._refused.items() if now - at < _REMEMBERED_S}
        return max(_SOON_S, len(self._refused) / _REFUSALS_PER_S)

    def _shares(self, run: TakenRun) -> dict[str, int]:
        """A login and a principal may use only some of the slots, so that others can migrate."""
        shares = self._slots.most_for(run.created_by)
        login = self._lookup.policies.login_of(run.module)
        if login is not None:
            shares[f"login {login}"] = self._login_slots
        if run.options.background:
            # Backfills take a long time, and migrations must not wait for them.
            shares["background"] = max(1, self._slots.limit // 2)
        return shares

    async def _migrate_in_slot(
        self, item: Item, run: TakenRun, module: Module | ServiceError, unfinished: UnfinishedSchema
    ) -> None:
        schema = unfinished.schema
        async with self._suspects.one_by_one(unfinished), self._slots.reserve():
            known = self._known_plans.pop(run.id)
            pending = None if known is None else _to_apply(run, known.plan)
            started = await self._store.start_schema(run.id, schema, self._replica, pending)
            if started is None:
                return
            if started.attempt > 1:
                # Part of it may be applied.
                known = None
            try:
                if isinstance(module, ServiceError):
                    raise module
                await self._suspects.require_harmless(run, module, started)
                with self._observer.run(run.module, str(run.id), run.traceparent) as observed:
                    migrated = await self._migrate(run, module, started, observed, known)
                    await self._store.complete_schema(run.id, schema, *migrated)
                    observed.ended("success" if migrated.steps else "up_to_date", len(migrated.steps))
                if migrated.steps:
                    logger.info("migrated", module=run.module, schema=schema, applied=len(migrated.steps))
            except RetryLater:
                await self._store.requeue(item, self._replica, "waiting_for_runner")
                raise
            except Exception as error:
                if _resumes(run, started, error):
                    await self._store.requeue(item, self._replica, "database_unavailable")
                    raise RetryLater(_SOON_S) from error
                await self._fail(item, run, module, started, error)

    def check_cancelled(self, run: UUID) -> None:
        """Check soon whether a run should be cancelled. A notification alone proves nothing: any user can send one."""
        for attempt in self._running.get(run, {}).values():
            attempt.recorder.write_soon()

    def _cancel(self, run: UUID) -> None:
        for attempt in self._running.get(run, {}).values():
            if not attempt.is_cancelled:
                attempt.is_cancelled = True
                task = asyncio.create_task(self._stop(attempt))
                self._cancelling.add(task)
                task.add_done_callback(self._cancelling.discard)

    async def _migrate(
        self, run: TakenRun, module: Module, started: StartedSchema, observed: ObservedRun, known: ReadPlan | None
    ) -> Migrated:
        options = run.options
        manager = await self._lookup.runner(module, started.schema)
        changed: dict[str, Any] = {"defer_background": not options.background}
        if options.lock_timeout_ms is not None:
            changed["lock_timeout"] = options.lock_timeout_ms / 1000
        manager = manager.with_options(**changed)
        is_recorded = known is not None
        is_first = is_recorded or started.pending is None
        known = known or await manager.read_plan(target=options.target)
        plan = known.plan
        pending = _to_apply(run, plan)
        total = len(pending) + len(plan.skipped) + len(plan.beyond_target)
        steps: list[Step] = []
        events: Sequence[RunEvent] = ()
        total_time_ms = 0.0
        if is_first:
            started.pending = pending
        if pending:
            bound = _require_planned(run, started, plan, pending, is_first=is_first)
            db = self._lookup.databases.of(module.name, started.schema)
            recorder = Recorder(self._database, db, self._store, run, started, len(pending))
            if not is_recorded:
                # Done first: what is pending now and applied at the end counts as applied by the run, even if this
                # replica dies.
                await recorder.flush()
            applying = self._observed(run, manager, recorder, observed).apply_pending_migrations(
                target=options.target, atomic=options.atomic, plan=bound, known=known
            )
            result = await self._execute(run, started, recorder, observed, applying, is_first=is_first)
            events = recorder.take_events()
            steps = [Step(one["filename"], one["execution_time_ms"]) for one in result["applied"]]
            total_time_ms = result["total_time_ms"]
        if not is_first and started.pending:
            # An attempt that was taken over may have applied some of them without being able to record it.
            steps = await applied_steps(manager, started.pending)
        skipped = len(plan.skipped) + len(pending) - len(steps)
        return Migrated(steps, skipped, total, total_time_ms, events)

    def _observed(
        self, run: TakenRun, manager: AsyncMigrationManager, recorder: Recorder, observed: ObservedRun
    ) -> AsyncMigrationManager:
        """``manager``, whose events and notices go to ``recorder`` and ``observed``."""

        def on_event(event: Event) -> None:
            observed.on_event(event)
            if recorder.listens:
                recorder.on_event(event)

        listens = recorder.listens or observed.listener is not None
        blockers = self._lookup.policies.blockers_of(run.module)
        return manager.with_options(
            on_backend=recorder.on_backend,
            on_event=on_event if listens else None,
            on_notice=recorder.on_notice,
            end_blockers=None
            if blockers is None
            else BlockerPolicy(**msgspec.structs.asdict(blockers), on_ended=recorder.on_blocker_ended),
        )

    async def _execute(
        self,
        run: TakenRun,
        started: StartedSchema,
        recorder: Recorder,
        observed: ObservedRun,
        applying: Coroutine[Any, Any, dict[str, Any]],
        *,
        is_first: bool,
    ) -> dict[str, Any]:
        """The result of ``applying``, while ``recorder`` writes its events."""
        task = asyncio.create_task(applying)
        attempt = Attempt(recorder, task)
        attempts = self._running.setdefault(run.id, {})
        attempts[started.schema] = attempt
        try:
            # After another attempt, more is read before the end is written.
            async with recorder.writing(leaves_last=is_first):
                result = await self._result(run, attempt)
                for one in result.get("renamed", ()):
                    recorder.on_notice(_renamed(**one), applied_as=one["applied_as"])
                return result
        except asyncio.CancelledError:
            if attempt.is_cancelled and task.cancelled():
                raise _cancelled(run) from None
            raise
        except MigrationError as error:
            if attempt.is_cancelled:
                raise _cancelled(run) from error
            if await self._is_held_by_run(run, started, error):
                observed.counted = False
                raise RetryLater(_SOON_S) from error
            raise
        except ConfigurationError as error:
            raise unfit_for_one_transaction(error, run.options.atomic) from error
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            del attempts[started.schema]
            if not attempts:
                self._running.pop(run.id, None)

    async def _result(self, run: TakenRun, attempt: Attempt) -> dict[str, Any]:
        """The result of the attempt. If the notification of a cancellation was lost, the run's row shows the
        cancellation."""
        while True:
            if attempt.recorder.cancelled:
                self._cancel(run.id)
            done, _ = await asyncio.wait({attempt.task}, timeout=_CHECK_CANCELLED_S)
            if done:
                result: dict[str, Any] = await attempt.task
                return result

    async def _is_held_by_run(self, run: TakenRun, started: StartedSchema, error: MigrationError) -> bool:
        """Whether a run holds the module's lock: another one, or this one on a replica that was considered dead."""
        if not isinstance(error, MigrationLockTimeoutError) or error.holder is None:
            return False
        if started.attempt > 1 and error.holder.get("application_name") == APPLICATION_NAME:
            # A frozen replica may not have recorded which backend it uses.
            return True
        return await self._store.is_backend_of_run(run.module, started.schema, error.holder["pid"])

    async def _fail(
        self, item: Item, run: TakenRun, module: Module | ServiceError, started: StartedSchema, error: Exception
    ) -> None:
        problem = service_error_of(error).with_fields(module=run.module, schema=started.schema)
        log_failure(problem, error)
        logger.warning("migrate failed", module=run.module, schema=started.schema, **problem.for_log())
        steps: list[Step] = []
        pending = started.pending
        if pending and not isinstance(module, ServiceError) and problem.code != "login_unavailable":
            steps = await applied_steps(await self._lookup.reader(module, started.schema), pending)
        status = "cancelled" if problem.code == "run_cancelled" else "failed"
        stop = run.options.on_failure == "stop" or item.chunk == CANARIES
        await self._store.fail_schema(run.id, started, status, to_document(problem), steps, stop=stop)

    async def _stop(self, attempt: Attempt) -> None:
        pid = attempt.recorder.backend_pid
        if pid is not None:
            try:
                await self._store.cancel_backend(attempt.recorder.db, pid)
                await asyncio.wait({attempt.task}, timeout=_CANCEL_S)
            except AsyncDBError as error:
                logger.warning("statement not cancelled", error_type=type(error).__name__)
        # It is waiting for something other than a statement.
        attempt.task.cancel()


def _to_apply(run: TakenRun, plan: Plan) -> list[str]:
    """The files of ``plan`` that the run applies."""
    deferred = frozenset() if run.options.background else plan.in_background
    return [one.filename for one in plan.pending if one.filename not in deferred]


def _resumes(run: TakenRun, started: StartedSchema, error: Exception) -> bool:
    """Whether a run that lost its database should resume by itself, because no client waits for a run of backfills."""
    return (
        run.options.background
        and started.attempt < _MOST_ATTEMPTS
        and service_error_of(error).code == "database_unavailable"
    )


def _cancelled(run: TakenRun) -> ServiceError:
    return ServiceError(
        "run_cancelled",
        "The run was cancelled. What it had applied before stays.",
        run_id=str(run.id),
        module=run.module,
    )


def _require_planned(
    run: TakenRun, started: StartedSchema, plan: Plan, pending: Sequence[str], *, is_first: bool
) -> str | None:
    """The digest of what is left of the run's plan; None if it is not bound to a plan.

    Raises:
        ServiceError: plan_moved, if something else is pending. After the first attempt, part of the plan may be
            applied.
    """
    bound = started.plan or run.options.plan
    if bound is None:
        return None
    if is_first:
        require_digest(run.module, started.schema, plan, bound)
    elif started.plan is not None and set(pending) - set(started.pending or ()):
        raise plan_moved(run.module, bound, None)
    # The engine compares it again while it locks out every other runner.
    return plan_digest(run.module, started.schema, plan.to_run)


def _renamed(filename: str, applied_as: str) -> Notice:
    message = f"It was applied as {applied_as}, with the same content, and is not run again."
    return Notice(filename, "WARNING", "01000", message)
