"""The verbs that take their turn: mark, baseline, repair, revert and resolve change things, rehearse tries them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

import structlog

from pgdbm.migrations.files import migration_of

from ..errors import Problem, invalid_request, problem_of, spelt_alike
from .rehearsing import rehearse
from .structs import BaselineResult, ChangedFile, Marked, RepairResult, Resolved, RevertedMigration, RevertResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from pgdbm.migrations import AsyncMigrationManager

    from ..database import Database
    from ..executor import Executor
    from ..former_contents import FormerContents
    from ..managers import Managers
    from .structs import BaselineBody, MarkBody, Rehearsal, RehearseBody, RepairBody, ResolveBody, RevertBody

T = TypeVar("T")

logger = structlog.get_logger("pgdbm_service")


class Decider:
    """Each method takes its turn as a migration does, and goes on to its end even if the caller goes away.

    Raises:
        Problem: with ``module``, and whatever else the code's page names.
    """

    def __init__(self, database: Database, executor: Executor, managers: Managers, former: FormerContents) -> None:
        self._database = database
        self._executor = executor
        self._managers = managers
        self._former = former

    async def mark(self, name: str, body: MarkBody) -> Marked:
        async def work(manager: AsyncMigrationManager) -> Marked:
            # What only the history knows can be taken out of it, too.
            if body.applied:
                await _require_file(manager, body.filename)
            await manager.mark(body.filename, applied=body.applied)
            return Marked(module=name, schema=manager.schema, filename=body.filename, applied=body.applied)

        return await self._in_turn("mark", name, body.schema, work)

    async def baseline(self, name: str, body: BaselineBody) -> BaselineResult:
        async def work(manager: AsyncMigrationManager) -> BaselineResult:
            baselined = await manager.baseline(body.version, check=body.check)
            return BaselineResult(
                module=name, schema=manager.schema, version=body.version, checked=body.check, baselined=baselined
            )

        return await self._in_turn("baseline", name, body.schema, work)

    async def rehearse(self, name: str, body: RehearseBody) -> Rehearsal:
        """Changes nothing, but works for as long as a migration does, on a connection of its own."""

        async def work(manager: AsyncMigrationManager) -> Rehearsal:
            return await rehearse(manager, body.target, body.timeout_s)

        return await self._in_turn("rehearse", name, body.schema, work)

    async def repair(self, name: str, body: RepairBody) -> RepairResult:
        """The applied files whose content has changed; with ``accept`` they count as applied as they are now."""

        async def work(manager: AsyncMigrationManager) -> RepairResult:
            recorded = {one.recorded for one in await manager.repair()}
            former = await self._former.of(name, recorded) if recorded else None
            items = [
                ChangedFile(filename=one.filename, recorded=one.recorded, current=one.current, diff=one.diff)
                for one in await manager.repair(accept=body.accept, former=former)
            ]
            return RepairResult(module=name, schema=manager.schema, accepted=body.accept, items=items)

        return await self._in_turn("repair", name, body.schema, work, waits=body.accept)

    async def revert(self, name: str, body: RevertBody) -> RevertResult:
        async def work(manager: AsyncMigrationManager) -> RevertResult:
            reverted = [
                RevertedMigration(one.filename, manager.schema, one.execution_time_ms)
                for one in await manager.revert(body.steps)
            ]
            return RevertResult(module=name, reverted=reverted)

        return await self._in_turn("revert", name, body.schema, work)

    async def resolve(self, name: str, body: ResolveBody) -> Resolved:
        async def work(manager: AsyncMigrationManager) -> Resolved:
            await _require_file(manager, migration_of(body.filename))
            await manager.resolve_statement(body.filename, body.statement, done=body.done)
            return Resolved(
                module=name, schema=manager.schema, filename=body.filename, statement=body.statement, done=body.done
            )

        return await self._in_turn("resolve", name, body.schema, work)

    async def _in_turn(
        self,
        verb: str,
        name: str,
        schema: str | None,
        work: Callable[[AsyncMigrationManager], Awaitable[T]],
        *,
        waits: bool = True,
    ) -> T:
        """The result of ``work``; a mere look, which ``waits`` for nobody, needs no turn."""
        try:
            module = await self._managers.current(name)
            if schema is None and len(module.schemas or ()) > 1:
                raise invalid_request([{"field": "schema", "message": f"{name} has more than one: say which"}])
            turn = self._executor.turn(name) if waits else nullcontext()
            return await self._executor.run(lambda: self._do(verb, self._managers.of(module, schema), turn, work))
        except Exception as error:
            problem = problem_of(error).with_fields(module=name)
            logger.warning(f"{verb} failed", module=name, problem=problem.code, reason=problem.detail)
            raise problem from error

    async def _do(
        self,
        verb: str,
        manager: AsyncMigrationManager,
        turn: AbstractAsyncContextManager[None],
        work: Callable[[AsyncMigrationManager], Awaitable[T]],
    ) -> T:
        # Fails soon where the database is away: a way back has no time limit.
        await self._database.check()
        async with turn:
            result = await work(manager)
        logger.info(verb, module=manager.module_name, schema=manager.schema)
        return result


async def _require_file(manager: AsyncMigrationManager, filename: str) -> None:
    names = [file.filename for file in await manager.find_migration_files()]
    if filename not in names:
        raise Problem(
            "migration_unknown",
            f"Module {manager.module_name!r} has no file {filename!r}.",
            filename=filename,
            hint=spelt_alike(filename, names),
        )
