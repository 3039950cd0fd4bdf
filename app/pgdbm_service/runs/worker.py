"""Processes the items of the queue: a chunk of the schemas of a run, one after the other."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from ..database.failures import is_unavailable, log_failure, service_error_of
from ..database.retrying import until_available
from ..errors import ServiceError, to_document
from .background_backfills import follow_up_of
from .queue import RetryLater

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from ..database.slots import Slots
    from ..registry.modules import Module
    from ..status.module_lookup import ModuleLookup
    from ..status.summaries import Summaries
    from .attempts import Attempts
    from .queue import Item
    from .start_conditions import StartConditions
    from .store import Store
    from .stored_runs import TakenRun

_SOON_S = 1.0

logger = structlog.get_logger("pgdbm_service")


class Worker:
    """An item may be delivered twice: then there is nothing to do, or a live replica is processing it."""

    def __init__(
        self,
        slots: Slots,
        lookup: ModuleLookup,
        summaries: Summaries,
        store: Store,
        attempts: Attempts,
        start_conditions: StartConditions,
        replica: UUID,
    ) -> None:
        self._slots = slots
        self._lookup = lookup
        self._summaries = summaries
        self._store = store
        self._attempts = attempts
        self._start_conditions = start_conditions
        self._replica = replica
        self._items: dict[UUID, int] = {}
        self._changed = asyncio.Event()

    async def until_idle(self, run: UUID) -> bool:
        """Return when this replica has no item of the run, and whether it had one."""
        had_one = run in self._items
        while run in self._items:
            changed = self._changed
            await changed.wait()
        return had_one

    async def process(self, item: Item) -> None:
        """Process an item completely.

        Raises:
            RetryLater: to be processed later, or by another replica.
        """
        with self._counted(item.run), structlog.contextvars.bound_contextvars(run_id=str(item.run)):
            try:
                await self._slots.run(lambda: self._work(item))
            except RetryLater:
                raise
            except Exception as error:
                await self._give_up(item, error)

    async def _work(self, item: Item) -> None:
        taken = await self._store.take(item)
        if taken is None:
            return
        run, unfinished = taken
        module = await self._module(run)
        if not (run.is_started or run.cancelled or isinstance(module, ServiceError)):  # noqa: SIM102
            if not await self._start_conditions.admit(run, module, self._store):
                return
        for one in unfinished:
            if self._slots.stopping:
                raise ServiceError("shutting_down", "The service is stopping.")
            if not one.has_ended:
                await self._attempts.migrate_schema(item, run, module, one)
        # Done before the run ends, so that GET /modules does not lag behind its end.
        await self._summarize(run, module, [one.schema for one in unfinished])
        follow_up = None if isinstance(module, ServiceError) else await follow_up_of(self._lookup, run, module)
        has_canaries = run.options.canary > 0
        status = await self._store.finish(item.run, item.chunk, follow_up, has_canaries=has_canaries)
        if status is None and not run.is_started and await self._store.is_unstarted(item.run):
            # The module was frozen after the item was taken.
            raise RetryLater(_SOON_S)
        if status is not None:
            logger.info("run ended", module=run.module, status=status)

    async def _module(self, run: TakenRun) -> Module | ServiceError:
        """The module with the run's files, or why it cannot be read."""
        try:
            return await self._lookup.get(run.module, bundle=run.bundle)
        except Exception as error:
            if is_unavailable(error):
                raise RetryLater(_SOON_S) from error
            problem = service_error_of(error).with_fields(module=run.module)
            log_failure(problem, error)
            return problem

    async def _summarize(self, run: TakenRun, module: Module | ServiceError, schemas: list[str]) -> None:
        if isinstance(module, ServiceError) or not schemas:
            return
        try:
            await until_available(
                lambda: self._summaries.refresh(module, schemas, str(run.id)), self._slots.shutting_down
            )
        except Exception as error:
            # The next reconciliation updates the summaries.
            logger.warning("summaries not refreshed", module=run.module, error_type=type(error).__name__)

    async def _give_up(self, item: Item, error: Exception) -> None:
        problem = service_error_of(error)
        if problem.code == "shutting_down":
            await self._store.requeue(item, self._replica, "shutting_down")
            raise RetryLater(0.0) from None
        if problem.code == "database_unavailable":
            raise RetryLater(_SOON_S) from error
        log_failure(problem, error)
        await self._store.abandon(item, to_document(problem))

    @contextlib.contextmanager
    def _counted(self, run: UUID) -> Iterator[None]:
        self._items[run] = self._items.get(run, 0) + 1
        try:
            yield
        finally:
            self._items[run] -= 1
            if not self._items[run]:
                del self._items[run]
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
