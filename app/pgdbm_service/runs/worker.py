"""Working on what the queue delivers: a chunk of the schemas of a run, one after the other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from pgdbm.errors import AsyncDBError, ConfigurationError, MigrationError, MigrationLockTimeoutError

from ..errors import Problem, document_of, is_database_away, problem_of
from .queue import ComeBackError, Item
from .recorder import FEW_FILES, FEW_SCHEMAS, Recorder
from .store import CANARIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from pgdbm.migrations import AsyncMigrationManager
    from pgdbm.migrations.events import Event

    from ..database import Database
    from ..executor import Executor
    from ..managers import Managers
    from ..observer import ObservedRun, Observer
    from ..registry import Module
    from ..summaries import Summaries
    from .store import Begun, BegunRun, Store, Waiting

T = TypeVar("T")

_SOON_S = 1.0
_PAUSE_S = 0.5
# A statement that was cancelled ends by itself, and the engine writes down how; what does not is cut off.
_CANCEL_S = 2.0

logger = structlog.get_logger("pgdbm_service")


class Attempt:
    """One schema of one run that this replica is at."""

    def __init__(self, recorder: Recorder, task: asyncio.Task[Any]) -> None:
        self.recorder = recorder
        self.task = task
        self.is_cancelled = False


class Worker:
    """Delivers the same item twice: the second time there is nothing to do, or somebody alive is at it."""

    def __init__(
        self,
        database: Database,
        executor: Executor,
        managers: Managers,
        summaries: Summaries,
        observer: Observer,
        store: Store,
        instance: UUID,
        stale_s: float,
    ) -> None:
        self._database = database
        self._executor = executor
        self._managers = managers
        self._summaries = summaries
        self._observer = observer
        self._store = store
        self._instance = instance
        self._stale_s = stale_s
        self._attempts: dict[UUID, dict[str, Attempt]] = {}
        self._items: dict[UUID, int] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def works_on(self, run: UUID) -> bool:
        """Whether this replica has an item of the run."""
        return run in self._items

    async def until_idle(self, run: UUID) -> None:
        """Return when this replica has no item of the run any more."""
        while run in self._items:
            changed = self._changed
            await changed.wait()

    async def deliver(self, item: Item) -> None:
        """Work on an item to its end.

        Raises:
            ComeBackError: it is for another time, or for another replica.
        """
        self._items[item.run] = self._items.get(item.run, 0) + 1
        try:
            with structlog.contextvars.bound_contextvars(run_id=str(item.run)):
                await self._executor.run(lambda: self._work(item))
        except ComeBackError:
            raise
        except Exception as error:
            problem = problem_of(error)
            if problem.code == "shutting_down":
                await self._patiently(lambda: self._store.requeue(item, self._instance, "shutting_down"))
                raise ComeBackError(0.0) from None
            if problem.code == "database_unavailable":
                raise ComeBackError(_SOON_S) from error
            await self._store.abandon(item, document_of(problem))
        finally:
            self._items[item.run] -= 1
            if not self._items[item.run]:
                del self._items[item.run]
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def cancel(self, run: UUID) -> None:
        """Stop what this replica does for the run."""
        for attempt in self._attempts.get(run, {}).values():
            if not attempt.is_cancelled:
                attempt.is_cancelled = True
                task = asyncio.create_task(self._stop(attempt))
                self._cancelling.add(task)
                task.add_done_callback(self._cancelling.discard)

    async def _stop(self, attempt: Attempt) -> None:
        pid = attempt.recorder.backend_pid
        if pid is not None:
            try:
                # Our own connection: it is in the hands of this attempt.
                await self._database.manager().execute("SELECT pg_catalog.pg_cancel_backend($1)", pid)
                await asyncio.wait({attempt.task}, timeout=_CANCEL_S)
            except AsyncDBError as error:
                logger.warning("statement not cancelled", error_type=type(error).__name__)
        # It waits for something else than a statement.
        attempt.task.cancel()

    async def _work(self, item: Item) -> None:
        run = await self._patiently(lambda: self._store.begin(item.run))
        if run is None:
            return
        if run.cancelled:
            await self._patiently(lambda: self._store.cancel_chunk(item))
        waiting = await self._patiently(lambda: self._store.waiting(item))
        module = await self._module(run) if waiting else None
        if module is not None:
            for one in waiting:
                if self._executor.stopping:
                    raise Problem("shutting_down", "The service is stopping.")
                await self._one(item, run, module, one)
        await self._patiently(lambda: self._store.pass_canary(item.run))
        status = await self._patiently(lambda: self._store.finish(item.run))
        if status is not None:
            logger.info("run ended", module=run.module, status=status)
        if module is not None:
            await self._summarize(run, module, [one.schema for one in waiting])

    async def _module(self, run: BegunRun) -> Module | Problem:
        """The module with the files that the run is for, or why it cannot be had."""
        try:
            return await self._managers.at(run.module, run.bundle)
        except Exception as error:
            if is_database_away(error):
                raise ComeBackError(_SOON_S) from error
            return problem_of(error).with_fields(module=run.module)

    async def _summarize(self, run: BegunRun, module: Module | Problem, schemas: list[str]) -> None:
        if isinstance(module, Problem):
            return
        try:
            await self._summaries.refresh(module, schemas, str(run.id))
        except Exception as error:
            # The next reconciliation does it.
            logger.warning("summaries not refreshed", module=run.module, error_type=type(error).__name__)

    async def _one(self, item: Item, run: BegunRun, module: Module | Problem, waiting: Waiting) -> None:
        schema = waiting.schema
        if waiting.is_owned and (waiting.instance != self._instance or schema in self._attempts.get(run.id, {})):
            # Delivered a second time, while somebody who is alive is at it.
            raise ComeBackError(self._stale_s / 2)
        async with self._executor.slot():
            begun = await self._patiently(lambda: self._store.begin_schema(run.id, schema, self._instance))
            if begun is None:
                return
            try:
                if isinstance(module, Problem):
                    raise module
                with self._observer.run(run.module, str(run.id), run.traceparent) as observed:
                    await self._migrate(run, module, schema, begun, observed)
            except ComeBackError:
                await self._patiently(lambda: self._store.requeue(item, self._instance, "waiting_for_runner"))
                raise
            except Exception as error:
                await self._failed(item, run, module, schema, begun, error)

    async def _migrate(self, run: BegunRun, module: Module, schema: str, begun: Begun, observed: ObservedRun) -> None:
        wishes = run.wishes
        options: dict[str, Any] = {}
        if wishes.lock_timeout_ms is not None:
            options["lock_timeout"] = wishes.lock_timeout_ms / 1000
        manager = self._managers.of(module, schema).with_options(**options)
        plan = await manager.look(target=wishes.target)
        pending = [one.filename for one in plan.pending]
        total = len(pending) + len(plan.skipped) + len(plan.beyond_target)
        applied: list[tuple[str, int]] = []
        ms = 0.0
        is_first = begun.pending is None
        if is_first:
            begun.pending = pending
        if pending:
            if wishes.plan is not None and is_first:
                await require_plan(manager, wishes.target, wishes.plan)
            recorder = Recorder(
                self._database,
                self._store,
                run.id,
                module.name,
                schema,
                begun.attempt,
                pending,
                listens=len(pending) <= FEW_FILES and run.schemas <= FEW_SCHEMAS,
            )
            result = await self._attempt(run, schema, recorder, manager, observed)
            applied = [(one["filename"], one["execution_time_ms"]) for one in result["applied"]]
            ms = result["total_time_ms"]
        if not is_first and begun.pending:
            # Whoever was at it before has applied some of them, and could not say so.
            applied = await steps_of(manager, begun.pending)
        skipped = total - len(applied) - len(plan.beyond_target)
        await self._patiently(lambda: self._store.succeed(run.id, schema, applied, skipped, total, ms))
        observed.ended("success" if applied else "up_to_date", len(applied))
        if applied:
            logger.info("migrated", module=module.name, schema=schema, applied=len(applied))

    async def _attempt(
        self,
        run: BegunRun,
        schema: str,
        recorder: Recorder,
        manager: AsyncMigrationManager,
        observed: ObservedRun,
    ) -> dict[str, Any]:
        wishes = run.wishes

        def hear(event: Event) -> None:
            observed.on_event(event)
            if recorder.listens:
                recorder.hear(event)

        listens = recorder.listens or observed.listener is not None
        manager = manager.with_options(on_backend=recorder.on_backend, on_event=hear if listens else None)
        # Before anything runs: what is pending now is what the run will have applied, whoever dies meanwhile.
        await self._patiently(recorder.flush)
        task = asyncio.create_task(manager.apply_pending_migrations(target=wishes.target, atomic=wishes.atomic))
        attempt = Attempt(recorder, task)
        attempts = self._attempts.setdefault(run.id, {})
        attempts[schema] = attempt
        if recorder.cancelled:
            self.cancel(run.id)
        try:
            async with recorder.writing():
                return await self._watched(run, attempt)
        except asyncio.CancelledError:
            if attempt.is_cancelled and task.cancelled():
                raise _cancelled(run) from None
            raise
        except MigrationError as error:
            if attempt.is_cancelled:
                raise _cancelled(run) from error
            if isinstance(error, MigrationLockTimeoutError) and error.holder is not None:
                pid = error.holder["pid"]
                if await self._patiently(lambda: self._store.ours(run.module, schema, pid)):
                    observed.counted = False
                    # Another run's work, or this one's in the hands of somebody who was taken for dead.
                    raise ComeBackError(_SOON_S) from error
            raise
        except ConfigurationError as error:
            raise unfit_for_one_transaction(error, wishes.atomic) from error
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            del attempts[schema]
            if not attempts:
                self._attempts.pop(run.id, None)

    async def _watched(self, run: BegunRun, attempt: Attempt) -> dict[str, Any]:
        """The result of the attempt. Where a notification was lost, the row says that it is to be cancelled."""
        while True:
            done, _ = await asyncio.wait({attempt.task}, timeout=_PAUSE_S)
            if done:
                result: dict[str, Any] = await attempt.task
                return result
            if attempt.recorder.cancelled:
                self.cancel(run.id)

    async def _failed(
        self, item: Item, run: BegunRun, module: Module | Problem, schema: str, begun: Begun, error: Exception
    ) -> None:
        problem = problem_of(error).with_fields(module=run.module, schema=schema)
        logger.warning("migrate failed", module=run.module, schema=schema, problem=problem.code, reason=problem.detail)
        steps: list[tuple[str, int]] = []
        if begun.pending and not isinstance(module, Problem):
            manager, names = self._managers.of(module, schema), begun.pending
            steps = await self._patiently(lambda: steps_of(manager, names))
        status = "cancelled" if problem.code == "run_cancelled" else "failed"
        stop = run.wishes.on_failure == "stop" or item.chunk == CANARIES
        document = document_of(problem)
        await self._patiently(
            lambda: self._store.fail(run.id, schema, begun.attempt, status, document, steps, stop=stop)
        )

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What ``ask`` answers, once the database does; until the service stops."""
        while True:
            try:
                return await ask()
            except Exception as error:
                if not is_database_away(error) or self._executor.stopping:
                    raise
            await asyncio.sleep(_PAUSE_S)


async def steps_of(manager: AsyncMigrationManager, filenames: list[str]) -> list[tuple[str, int]]:
    """Which of ``filenames`` the history has, in the order in which they were applied, and how long each took."""
    wanted = set(filenames)
    rows = await manager.history(limit=len(filenames) + 100)
    return [(row.filename, row.execution_time_ms or 0) for row in reversed(rows) if row.filename in wanted]


async def require_plan(manager: AsyncMigrationManager, target: str | None, digest: str) -> None:
    """Raise a Problem (plan_moved) where what is pending is not what the plan with ``digest`` says."""
    now = (await manager.plan(target=target, squawk=False)).digest
    if now != digest:
        raise Problem(
            "plan_moved",
            f"What is pending in {manager.module_name} now is not what the plan says. Nothing was applied.",
            plan=digest,
            current_plan=now,
        )


def unfit_for_one_transaction(error: ConfigurationError, atomic: str) -> AsyncDBError:
    """With ``atomic`` "all", that a file which cannot run in a transaction is pending is no defect of ours."""
    return MigrationError(error.message) if atomic == "all" else error


def _cancelled(run: BegunRun) -> Problem:
    return Problem(
        "run_cancelled",
        "The run was cancelled. What it had applied before stays.",
        run_id=str(run.id),
        module=run.module,
    )
