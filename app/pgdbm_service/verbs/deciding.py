"""The verbs that change the history, and with revert the database: mark, repair, revert, resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import structlog

from pgdbm.migrations.files import migration_of

from ..errors import Problem, problem_of, spelt_alike
from .structs import ChangedFile, Marked, RepairResult, Resolved, RevertedMigration, RevertResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgdbm.migrations import AsyncMigrationManager

    from ..database import Database
    from ..executor import Executor
    from ..managers import Managers
    from ..registry import Module

T = TypeVar("T")

logger = structlog.get_logger("pgdbm_service")


class Decider:
    """Each method takes its turn as a migration does, and goes on to its end even if the caller goes away.

    Raises:
        Problem: with ``module``, and whatever else the code's page names.
    """

    def __init__(self, database: Database, executor: Executor, managers: Managers) -> None:
        self._database = database
        self._executor = executor
        self._managers = managers

    async def mark(self, name: str, filename: str, *, applied: bool) -> Marked:
        async def work(manager: AsyncMigrationManager) -> Marked:
            # What only the history knows can be taken out of it, too.
            if applied:
                await _require_file(manager, filename)
            await manager.mark(filename, applied=applied)
            return Marked(module=name, schema=manager.schema, filename=filename, applied=applied)

        return await self._in_turn("mark", name, work)

    async def repair(self, name: str) -> RepairResult:
        """Accept every change."""

        async def work(manager: AsyncMigrationManager) -> RepairResult:
            return await repair(manager, accept=True)

        return await self._in_turn("repair", name, work)

    async def revert(self, name: str, steps: int) -> RevertResult:
        async def work(manager: AsyncMigrationManager) -> RevertResult:
            reverted = [
                RevertedMigration(one.filename, manager.schema, one.execution_time_ms)
                for one in await manager.revert(steps)
            ]
            return RevertResult(module=name, reverted=reverted)

        return await self._in_turn("revert", name, work)

    async def resolve(self, name: str, filename: str, statement: int, *, done: bool) -> Resolved:
        async def work(manager: AsyncMigrationManager) -> Resolved:
            await _require_file(manager, migration_of(filename))
            await manager.resolve_statement(filename, statement, done=done)
            return Resolved(module=name, schema=manager.schema, filename=filename, statement=statement, done=done)

        return await self._in_turn("resolve", name, work)

    async def _in_turn(self, verb: str, name: str, work: Callable[[AsyncMigrationManager], Awaitable[T]]) -> T:
        module = self._managers.registered(name)
        return await self._executor.run(lambda: self._do(verb, module, work))

    async def _do(self, verb: str, module: Module, work: Callable[[AsyncMigrationManager], Awaitable[T]]) -> T:
        try:
            # Fails soon where the database is away: a way back has no time limit.
            await self._database.check()
            async with self._executor.turn(module.name):
                result = await work(self._managers.of(module))
        except Exception as error:
            problem = problem_of(error).with_fields(module=module.name)
            logger.warning(f"{verb} failed", module=module.name, problem=problem.code, reason=problem.detail)
            raise problem from error
        logger.info(verb, module=module.name, schema=module.schema)
        return result


async def repair(manager: AsyncMigrationManager, *, accept: bool) -> RepairResult:
    """The applied files whose content has changed; with ``accept`` they count as applied as they are now."""
    return RepairResult(
        module=manager.module_name,
        schema=manager.schema,
        accepted=accept,
        items=[
            ChangedFile(filename=one.filename, recorded=one.recorded, current=one.current, diff=one.diff)
            for one in await manager.repair(accept=accept)
        ],
    )


async def _require_file(manager: AsyncMigrationManager, filename: str) -> None:
    names = [file.filename for file in await manager.find_migration_files()]
    if filename not in names:
        raise Problem(
            "migration_unknown",
            f"Module {manager.module_name!r} has no file {filename!r}.",
            filename=filename,
            hint=spelt_alike(filename, names),
        )
