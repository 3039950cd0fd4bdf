"""Runs of all modules: how one is accepted, and worked on.

It begins the run of one module after the other, and ends with the first that fails. It waits for none of them: the end
of that puts the whole back into the queue, for whichever replica takes it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog

from ..errors import Problem, document_of, is_database_away, problem_of
from .accepting import Request, digest_of, require_retryable
from .queue import ComeBackError
from .reading import all_of
from .store import KeyTakenError
from .structs import ALL_MODULES, MigrateAllResult, MigrateBody, MigrateResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..database import Database
    from ..executor import Executor
    from ..managers import Managers
    from .accepting import Acceptor
    from .parts import Parts, Todo
    from .reading import Reader
    from .store import Store
    from .structs import Run

_SOON_S = 1.0
_ANOTHER_TIME = ("database_unavailable", "shutting_down")

logger = structlog.get_logger("pgdbm_service")


class AllModules:
    """Delivered twice at the same time, a run begins no part twice: the second call joins what is under way."""

    def __init__(
        self,
        database: Database,
        executor: Executor,
        managers: Managers,
        store: Store,
        parts: Parts,
        reader: Reader,
        acceptor: Acceptor,
        instance: UUID,
    ) -> None:
        self._database = database
        self._executor = executor
        self._managers = managers
        self._store = store
        self._parts = parts
        self._reader = reader
        self._acceptor = acceptor
        self._instance = instance

    async def migrate(self, *, dry_run: bool, request: Request) -> MigrateAllResult | UUID:
        """What came of migrating every module, each after those that it depends on, up to the first that fails.

        The run that goes on when the wait is over.

        Raises:
            Problem: of the module that failed; ``items`` has the results before it, ``not_reached`` the names after it.
        """
        digest = digest_of([ALL_MODULES])
        if request.key is not None and not dry_run:
            known = await self._database.within_limit(self._acceptor.of_key(request.caller, request.key, digest))
            if known is not None:
                return await self._waited(known, request)
        names = [module.name for module in await self._database.within_limit(self._managers.in_order())]
        if dry_run:
            return await self._dry_run(names, request)
        up_to_date = await self._up_to_date(names)
        if up_to_date is not None:
            return up_to_date
        return await self._waited(await self._create(names, request, digest), request)

    async def retry(self, before: Run, request: Request) -> MigrateAllResult | UUID:
        """A run of the modules that did not succeed in ``before``.

        Raises:
            Problem: as :meth:`migrate`; run_not_retryable.
        """
        require_retryable(before)
        names = [part.module for part in before.modules or () if part.status != "succeeded"]
        run = await self._create(names, request, digest_of(["retry", before.id]), retry_of=before.id)
        return await self._waited(run, request)

    async def cancel(self, run: UUID) -> bool:
        """Stop the part that is under way, and begin no other; False where the run has ended already."""
        if not await self._store.request_cancel(run):
            return False
        todo = await self._parts.next(run)
        if todo is not None and todo.part is not None:
            await self._store.cancel(todo.part)
        elif todo is not None:
            await self._finish_early(run, "cancelled", document_of(_cancelled(run)))
        return True

    async def deliver(self, run: UUID) -> None:
        """Go on with ``run`` as far as it goes now.

        Raises:
            ComeBackError: it is for another time, or for another replica.
        """
        try:
            with structlog.contextvars.bound_contextvars(run_id=str(run)):
                while await self._go_on(run):
                    pass
        except Exception as error:
            problem = problem_of(error)
            if problem.code in _ANOTHER_TIME or is_database_away(error):
                raise ComeBackError(0.0 if problem.code == "shutting_down" else _SOON_S) from error
            await self._finish_early(run, "failed", document_of(problem))

    async def _go_on(self, run: UUID) -> bool:
        """One step; whether there is another one that can be done now."""
        todo = await self._parts.next(run)
        if todo is None:
            return False
        if todo.part is not None:
            return await self._parts.has_ended(todo.part) and await self._end(run, todo)
        if todo.cancelled:
            return await self._finish_early(run, "cancelled", document_of(_cancelled(run)))
        if todo.position is None:
            await self._parts.finish(run, "succeeded", None)
            logger.info("run of all modules ended", status="succeeded")
            return False
        return await self._begin(run, todo, todo.position)

    async def _begin(self, run: UUID, todo: Todo, position: int) -> bool:
        assert todo.module is not None
        request = Request(caller=todo.caller, request_id=todo.request_id, traceparent=todo.traceparent)
        try:
            accepted = await self._acceptor.accept(todo.module, MigrateBody(), request)
        except Problem as problem:
            if problem.code in _ANOTHER_TIME:
                raise
            return await self._fail(run, position, "failed", document_of(problem))
        if not isinstance(accepted, UUID):
            await self._parts.end(run, position, "succeeded", accepted)
        elif await self._parts.begin(run, position, accepted, self._instance):
            await self._store.cancel(accepted)
        return True

    async def _end(self, run: UUID, todo: Todo) -> bool:
        """Take over what came of a part."""
        assert todo.part is not None
        assert todo.position is not None
        try:
            status, result, problem = await self._reader.outcome(todo.part)
        except Problem as forgotten:
            status, result, problem = "failed", None, document_of(forgotten)
        assert not isinstance(result, MigrateAllResult)
        if status == "succeeded":
            await self._parts.end(run, todo.position, status, result)
            return True
        problem = problem or document_of(_cancelled(todo.part))
        return await self._fail(run, todo.position, status, problem | {"module": todo.module})

    async def _fail(self, run: UUID, position: int, status: str, problem: dict[str, Any]) -> bool:
        await self._parts.end(run, position, status, None)
        return await self._finish_early(run, status, problem)

    async def _finish_early(self, run: UUID, status: str, problem: dict[str, Any]) -> bool:
        parts = await self._parts.of(run)
        problem |= {
            "items": [part.result for part in parts if part.result is not None],
            "not_reached": [part.module for part in parts if part.status == "queued"],
        }
        await self._parts.finish(run, status, problem)
        logger.warning("run of all modules ended", status=status, problem=problem["code"], module=problem.get("module"))
        return False

    async def _create(self, names: Sequence[str], request: Request, digest: str, retry_of: UUID | None = None) -> UUID:
        """A new run of the modules, in this order, or the one that the request's key has led to."""
        if self._executor.stopping:
            raise Problem("shutting_down", "The service is stopping; another instance, or this one later, goes on.")
        run = uuid4()
        while True:
            try:
                await self._database.within_limit(self._parts.create(run, names, request, digest, retry_of))
            except KeyTakenError:
                assert request.key is not None
                known = await self._acceptor.of_key(request.caller, request.key, digest)
                if known is not None:
                    return known
            else:
                logger.info("run of all modules queued", run_id=str(run), modules=len(names))
                return run

    async def _waited(self, run: UUID, request: Request) -> MigrateAllResult | UUID:
        result = await self._acceptor.wait(run, request.wait_s)
        assert not isinstance(result, MigrateResult)
        return result

    async def _up_to_date(self, names: Sequence[str]) -> MigrateAllResult | None:
        """The result, where nothing is pending in any module. What keeps one from being migrated shows in its turn."""
        began = time.perf_counter()
        results: list[MigrateResult] = []
        for name in names:
            try:
                result = await self._database.within_limit(self._acceptor.is_up_to_date(name))
            except Exception as error:
                if problem_of(error).code == "database_unavailable":
                    raise
                return None
            if result is None:
                return None
            results.append(result)
        return all_of(results, _ms_since(began))

    async def _dry_run(self, names: Sequence[str], request: Request) -> MigrateAllResult:
        began = time.perf_counter()
        results: list[MigrateResult] = []
        for position, name in enumerate(names):
            try:
                result = await self._acceptor.migrate(name, MigrateBody(dry_run=True), request)
            except Problem as problem:
                raise problem.with_fields(items=results, not_reached=list(names[position + 1 :])) from None
            assert isinstance(result, MigrateResult)
            results.append(result)
        return all_of(results, _ms_since(began))


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 1)


def _cancelled(run: UUID) -> Problem:
    return Problem("run_cancelled", f"Run {run} was cancelled. What it had applied before stays.", run_id=str(run))
