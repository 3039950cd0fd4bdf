"""Applying the migrations of one module, or of all in their order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from pgdbm.errors import ConfigurationError, MigrationError

from ..errors import Problem, problem_of
from .structs import AppliedMigration, MigrateAllResult, MigrateBody, MigrateResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..database import Database
    from ..executor import Executor
    from ..managers import Managers
    from ..registry import Module
    from .structs import MigrateStatus

logger = structlog.get_logger("pgdbm_service")


class Migrator:
    """Migrates modules over the shared pool."""

    def __init__(self, database: Database, executor: Executor, managers: Managers) -> None:
        self._database = database
        self._executor = executor
        self._managers = managers

    async def migrate(self, name: str, wishes: MigrateBody) -> MigrateResult:
        """Apply what is pending, to its end even if the caller goes away.

        Raises:
            Problem: with ``module``, and whatever else the code's page names.
        """
        module = await self._managers.current(name)
        return await self._executor.run(lambda: self._migrate(module, wishes))

    async def migrate_all(self, modules: Sequence[Module], *, dry_run: bool) -> MigrateAllResult:
        """Apply what is pending in ``modules``, one after the other, up to the first that fails.

        Raises:
            Problem: of the module that failed; ``items`` has the results before it, ``not_reached`` the names after it.
        """
        return await self._executor.run(lambda: self._migrate_all(modules, dry_run=dry_run))

    async def _migrate_all(self, modules: Sequence[Module], *, dry_run: bool) -> MigrateAllResult:
        began = time.perf_counter()
        results: list[MigrateResult] = []
        for position, module in enumerate(modules):
            try:
                if self._executor.stopping:
                    raise Problem("shutting_down", f"The service is stopping; {module.name} was not begun.")
                results.append(await self._migrate(module, MigrateBody(dry_run=dry_run)))
            except Problem as problem:
                not_reached = [later.name for later in modules[position + 1 :]]
                raise problem.with_fields(module=module.name, items=results, not_reached=not_reached) from None
        status: MigrateStatus = "dry_run" if dry_run else "up_to_date"
        if any(result.status == "success" for result in results):
            status = "success"
        elapsed = round((time.perf_counter() - began) * 1000, 1)
        return MigrateAllResult(status=status, items=results, not_reached=[], total_time_ms=elapsed)

    async def _migrate(self, module: Module, wishes: MigrateBody) -> MigrateResult:
        try:
            # Fails soon where the database is away: a migration itself has no time limit.
            await self._database.check()
            if wishes.dry_run:
                answer = await self._apply(module, wishes)
            else:
                async with self._executor.turn(module.name):
                    answer = await self._apply(module, wishes)
        except Exception as error:
            problem = problem_of(error).with_fields(module=module.name)
            logger.warning("migrate failed", module=module.name, problem=problem.code, reason=problem.detail)
            raise problem from error
        if answer["applied"]:
            logger.info("migrated", module=module.name, schema=module.schema, applied=len(answer["applied"]))
        elapsed = answer.get("total_time_ms")
        return MigrateResult(
            module=module.name,
            status=answer["status"],
            applied=[AppliedMigration(schema=module.schema, **applied) for applied in answer["applied"]],
            pending=answer.get("pending", []),
            skipped=len(answer["skipped"]),
            total=answer["total"],
            total_time_ms=None if elapsed is None else round(elapsed, 1),
        )

    async def _apply(self, module: Module, wishes: MigrateBody) -> dict[str, Any]:
        if wishes.plan is None:
            manager = self._managers.of(module)
        else:
            # What is compared is what is applied then, even if a file changes between the two.
            manager = await self._managers.frozen(module)
            digest = (await manager.plan(target=wishes.target, squawk=False)).digest
            if digest != wishes.plan:
                raise Problem(
                    "plan_moved",
                    f"What is pending in {module.name} now is not what the plan says. Nothing was applied.",
                    plan=wishes.plan,
                    current_plan=digest,
                )
        try:
            return await manager.apply_pending_migrations(wishes.dry_run, target=wishes.target, atomic=wishes.atomic)
        except ConfigurationError as error:
            if wishes.atomic != "all":
                raise
            # A file that cannot run in a transaction is pending.
            raise MigrationError(error.message) from error
