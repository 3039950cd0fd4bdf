"""Dry runs: what migrating a module would apply. Nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.errors import ConfigurationError

from ..api.runs import MigrateResult, RenamedMigration
from ..registry.modules import without_files
from .plan_checks import unfit_for_one_transaction

if TYPE_CHECKING:
    from ..database.pool import Database
    from ..status.module_lookup import ModuleLookup
    from .request import MigrationRequest
    from .targets import Targets


class DryRuns:
    def __init__(self, database: Database, lookup: ModuleLookup, targets: Targets) -> None:
        self._database = database
        self._lookup = lookup
        self._targets = targets

    async def dry_run(self, request: MigrationRequest) -> MigrateResult:
        """What would be applied, in all schemas together.

        Raises:
            ServiceError: as :meth:`Targets.find_target`. And what planning raises.
        """
        # Parsing has no time limit, so an unavailable database is reported early.
        await self._database.check()
        target = await self._targets.find_target(request)
        module, schemas, options = target.module, target.schemas, request.options
        pending: dict[str, None] = {}
        renamed: dict[tuple[str, str], None] = {}
        skipped = total = 0
        for schema in schemas:
            manager = await self._lookup.reader(module, schema)
            # Another session may have locked the history.
            await self._database.with_timeout(manager.plan_pending(target=options.target))
            try:
                answer = await manager.apply_pending_migrations(True, target=options.target, atomic=options.atomic)
            except ConfigurationError as error:
                raise unfit_for_one_transaction(error, options.atomic) from error
            pending |= dict.fromkeys(answer["pending"])
            renamed |= dict.fromkeys((one["filename"], one["applied_as"]) for one in answer.get("renamed", ()))
            skipped += len(answer["skipped"])
            total += answer["total"]
        result = MigrateResult(
            module=module.name,
            status="dry_run",
            applied=[],
            pending=list(pending),
            skipped=skipped,
            total=total,
            total_time_ms=None,
        )
        if renamed:
            result.renamed = [RenamedMigration(*names) for names in renamed]
        if not total:
            result.warnings = [without_files(module.name)]
        return result
