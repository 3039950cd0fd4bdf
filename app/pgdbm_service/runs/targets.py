"""The module and the schemas that a request concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ..api.runs import MigrateResult
from ..errors import ServiceError, invalid_request
from ..registry.modules import without_files
from .plan_checks import require_plan

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pgdbm.migrations.engine.plan import ReadPlan

    from ..registry.modules import Module
    from ..status.module_lookup import ModuleLookup
    from ..status.summaries import Summaries
    from .request import MigrationRequest


class Target(NamedTuple):
    """``started``: the ``schemas`` in which part of the module is known to be applied. ``known``: the plan, if there is
    one schema and it was planned."""

    module: Module
    schemas: Sequence[str]
    started: Collection[str] = frozenset()
    known: ReadPlan | None = None


class Targets:
    def __init__(self, lookup: ModuleLookup, summaries: Summaries) -> None:
        self._lookup = lookup
        self._summaries = summaries

    async def find_pending(self, request: MigrationRequest) -> Target | MigrateResult:
        """Like :meth:`find_target`, with the schemas in which something may be pending, or the result if there are
        none.

        A retry runs in all of its schemas, because each of them has failed before.
        """
        with_timeout = self._lookup.databases.with_timeout
        target = await with_timeout(self.find_target(request))
        if request.retry_of is not None:
            return target
        finding = self._lookup.pending_schemas(target.module, target.schemas, request.options.target)
        pending = await with_timeout(finding, len(target.schemas))
        if pending.schemas:
            return Target(target.module, pending.schemas, pending.started, pending.known)
        result = MigrateResult(
            module=target.module.name,
            status="up_to_date",
            applied=[],
            pending=[],
            skipped=pending.skipped,
            total=pending.total,
            total_time_ms=0.0,
        )
        if not pending.total:
            result.warnings = [without_files(target.module.name)]
        return result

    async def find_target(self, request: MigrationRequest) -> Target:
        """The module, and the schemas to migrate, in order.

        The module is the current one or, if the request names a bundle, has its current files.

        Raises:
            ServiceError: module_unknown, module_invalid, invalid_request; bundle_moved or plan_moved, if a digest in
                the request is not current; migration_error, if there is no schema.
        """
        if request.module in request.stored:
            module = await self._lookup.get(request.module, bundle=request.stored[request.module])
        else:
            module = await self._lookup.get(request.module, latest=True)
        if request.bundle is not None:
            bundle = await self._lookup.bundle(module)
            if bundle.digest != request.bundle:
                raise ServiceError(
                    "bundle_moved",
                    f"The bundle of {module.name} is now {bundle.digest}. Nothing was applied.",
                    module=module.name,
                    bundle=request.bundle,
                    current_bundle=bundle.digest,
                )
            module = msgspec.structs.replace(module, bundle=bundle)
        options = request.options
        if options.schemas is None:
            schemas = await self._summaries.schemas(module)
        else:
            schemas = list(dict.fromkeys(options.schemas))
        if not schemas:
            raise ServiceError(
                "migration_error",
                f"{module.name} is for the schemas {module.pattern}, but no schema matches. Create them, or name them "
                f"in schemas.",
            )
        for schema in schemas:
            self._lookup.policies.check_in(module, schema)
        managers = [self._lookup.manager(module, schema) for schema in options.schemas or ()]
        if options.plan is not None:
            if len(schemas) != 1:
                raise invalid_request([{"field": "plan", "message": "a plan is for one schema: name it in schemas"}])
            manager = managers[0] if managers else await self._lookup.reader(module, schemas[0])
            await require_plan(manager, options.target, options.plan)
        return Target(module, schemas)
