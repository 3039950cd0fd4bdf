"""Creates runs, after checking what could prevent them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from ..errors import ServiceError
from ..status.renames import require_not_renamed
from .dependencies import require_dependencies
from .stored_runs import NewRun

if TYPE_CHECKING:
    from uuid import UUID

    from pgdbm.core.lru import LRUCache
    from pgdbm.migrations.engine.plan import ReadPlan

    from ..database.slots import Slots
    from ..registry.store import RegistrationStore
    from ..status.module_lookup import ModuleLookup
    from ..status.summaries import Summaries
    from .plan_binding import BoundPlan
    from .request import MigrationRequest
    from .start_conditions import StartConditions
    from .store import Store
    from .targets import Target

_PLAN_KEPT_S = 5.0

logger = structlog.get_logger("pgdbm_service")


class RunCreator:
    """``known_plans``: receives the plan of each run that it creates, by the id of the run."""

    def __init__(
        self,
        slots: Slots,
        registrations: RegistrationStore,
        lookup: ModuleLookup,
        summaries: Summaries,
        store: Store,
        start_conditions: StartConditions,
        known_plans: LRUCache[UUID, ReadPlan],
    ) -> None:
        self._slots = slots
        self._registrations = registrations
        self._lookup = lookup
        self._summaries = summaries
        self._store = store
        self._start_conditions = start_conditions
        self._known_plans = known_plans

    async def create_run(self, request: MigrationRequest, target: Target, bound: BoundPlan | None) -> UUID:
        """A new run, or the active one that does the same with the same files. ``bound``: the plan of the target.

        Raises:
            ServiceError: shutting_down, closed, dependency_not_migrated, module_conflict; files_changing.
            KeyTakenError: a concurrent request with the same key has created another run.
        """
        if self._slots.stopping:
            raise ServiceError("shutting_down", "The service is stopping. Another replica serves the request.")
        module, schemas = target.module, target.schemas
        await self._start_conditions.require_accepted(request, module)
        known = target.known
        planned = None if known is None else known.migrations
        bundle = await self._lookup.bundle(module, planned=planned) if bound is None else bound.bundle
        await require_dependencies(self._lookup, self._summaries, module, request.stored)
        # Of a renamed module, nothing is applied under its new name.
        others = [schema for schema in schemas if schema not in target.started]
        if others:
            reader = self._lookup.databases.reader(module.name)
            await require_not_renamed(reader, self._registrations.registry, module.name, others, bundle.checksums)
        # Another replica may do the work, with different files in its repository.
        await self._registrations.store_bundle(module.name, bundle)
        new = NewRun(id=uuid4(), request=request, bundle=bundle.digest, schemas=schemas, bound=bound)
        # A bound plan is more recent than the known one.
        if known is not None and bound is None and bundle.consists_of(known.migrations):
            self._known_plans.put(new.id, known)
            # A run may be held, or wait in the queue, for hours.
            asyncio.get_running_loop().call_later(_PLAN_KEPT_S, self._known_plans.pop, new.id)
        run = await self._store.create(new)
        if run == new.id:
            logger.info("run queued", run_id=str(run), module=module.name, schemas=len(schemas))
        return run
