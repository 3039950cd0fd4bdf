"""Applying the migrations of one module, or of all in their order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from pgdbm.migrations import AsyncMigrationManager

from ..errors import Problem, problem_of
from .structs import AppliedMigration, MigrateAllResult, MigrateResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..database import Database
    from ..executor import Executor
    from .registry import Module
    from .structs import MigrateStatus

logger = structlog.get_logger("pgdbm_service")


class Migrator:
    """Migrates modules over the shared pool. ``lock_wait_s`` bounds each wait for others: runners, and locks."""

    def __init__(self, database: Database, executor: Executor, lock_wait_s: float) -> None:
        self._database = database
        self._executor = executor
        self._lock_wait_s = lock_wait_s

    def manager(self, module: Module) -> AsyncMigrationManager:
        """The library's manager of ``module``.

        Raises:
            Problem: module_invalid, if the folder has gone: no files would look like nothing to do.
        """
        if not module.folder.is_dir():
            raise Problem("module_invalid", f"The folder of module {module.name} is gone.", module=module.name)
        return AsyncMigrationManager(
            self._database.manager(module.schema),
            module.folder,
            module.name,
            out_of_order=module.out_of_order,
            lock_wait_timeout=self._lock_wait_s,
            retry_for=self._lock_wait_s,
        )

    async def migrate(self, module: Module, *, dry_run: bool) -> MigrateResult:
        """Apply what is pending, to its end even if the caller goes away.

        Raises:
            Problem: with ``module``, and whatever else the code's page names.
        """
        return await self._executor.run(lambda: self._migrate(module, dry_run=dry_run))

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
                results.append(await self._migrate(module, dry_run=dry_run))
            except Problem as problem:
                not_reached = [later.name for later in modules[position + 1 :]]
                raise problem.with_fields(module=module.name, items=results, not_reached=not_reached) from None
        status: MigrateStatus = "dry_run" if dry_run else "up_to_date"
        if any(result.status == "success" for result in results):
            status = "success"
        elapsed = round((time.perf_counter() - began) * 1000, 1)
        return MigrateAllResult(status=status, items=results, not_reached=[], total_time_ms=elapsed)

    async def _migrate(self, module: Module, *, dry_run: bool) -> MigrateResult:
        try:
            # Fails soon where the database is away: a migration itself has no time limit.
            await self._database.check()
            manager = self.manager(module)
            if dry_run:
                answer = await manager.apply_pending_migrations(dry_run=True)
            else:
                async with self._executor.turn(module.name):
                    answer = await manager.apply_pending_migrations()
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
