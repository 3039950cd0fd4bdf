"""Runs of several modules: one child run after the other, up to the first one that fails.

The worker does not wait for a child: the end of a child puts its parent back into the queue, for any replica.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import structlog

from ..api.runs import ALL_MODULES, MigrateAllResult, MigrateResult, RunOptions
from ..database.failures import is_unavailable, log_failure, service_error_of
from ..errors import ServiceError, to_document
from ..registry.modules import missing_modules, require_repository, require_valid
from .child_runs import NewChild
from .queries import all_of
from .queue import RetryLater
from .request import MigrationRequest, Origin
from .stored_runs import KeyTakenError
from .submit import require_retryable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..api.runs import Run
    from ..database.pool import Database
    from ..database.slots import Slots
    from ..registry.modules import Module
    from ..registry.store import RegistrationStore
    from ..status.module_lookup import ModuleLookup
    from .child_runs import ChildRuns, NextChild
    from .idempotency import IdempotencyKeys
    from .queries import RunQueries
    from .store import Store
    from .submit import RunSubmitter
    from .targets import Targets
    from .wait import RunWaiter

_SOON_S = 1.0
_TEMPORARY = ("database_unavailable", "shutting_down")

logger = structlog.get_logger("pgdbm_service")


class AllModules:
    """Even if a run is processed twice at the same time, no child starts twice: the second call joins the active
    run."""

    def __init__(
        self,
        database: Database,
        slots: Slots,
        registrations: RegistrationStore,
        lookup: ModuleLookup,
        store: Store,
        children: ChildRuns,
        queries: RunQueries,
        submitter: RunSubmitter,
        targets: Targets,
        keys: IdempotencyKeys,
        waiter: RunWaiter,
        replica: UUID,
    ) -> None:
        self._database = database
        self._slots = slots
        self._registrations = registrations
        self._lookup = lookup
        self._store = store
        self._children = children
        self._queries = queries
        self._submitter = submitter
        self._targets = targets
        self._keys = keys
        self._waiter = waiter
        self._replica = replica

    async def modules(self, module: str | None = None) -> list[str]:
        """The modules to migrate now, each after those that it depends on: ``module`` with its dependencies, or all.

        "All" omits invalid modules, see :meth:`Registry.left_out`.

        Raises:
            ServiceError: module_unknown, module_invalid.
        """
        registry = await self._registrations.catch_up()
        if module is not None:
            await self._lookup.get(module)
        return [one.name for one in registry.in_order(None if module is None else [module])]

    async def migrate(self, request: MigrationRequest, modules: Sequence[str]) -> MigrateAllResult | UUID:
        """Migrate ``modules``, in this order, up to the first one that fails.

        Returns the run itself if it has not ended after ``wait_s``.

        Raises:
            ServiceError: the error of the module that failed; ``items`` has the results before it, ``not_reached`` the
                names after it.
        """
        registry = self._registrations.registry
        left_out = registry.left_out() if request.module == ALL_MODULES else {}
        if request.module == ALL_MODULES:
            require_repository(registry)
            if registry.missing:
                raise missing_modules(registry)
        if not modules:
            result = all_of([], 0.0)
            result.not_reached, result.warnings = list(left_out), registry.warnings
            return result
        if request.dry_run:
            result = await self._dry_run(modules, request)
            result.not_reached = list(left_out)
            return result
        keyed = await self._database.with_timeout(self._keys.find_run(request))
        if keyed is not None:
            return await self._waiter.result(keyed.run, request.wait_s, MigrateAllResult, is_stored=keyed.is_stored)
        up_to_date = await self._up_to_date(modules, request)
        if up_to_date is not None:
            up_to_date.not_reached = list(left_out)
            return up_to_date
        run = await self._create(modules, request, left_out)
        return await self._waiter.result(run, request.wait_s, MigrateAllResult)

    async def migrate_with_dependencies(
        self, request: MigrationRequest, modules: Sequence[str]
    ) -> MigrateResult | UUID:
        """Like :meth:`migrate`, for the last of ``modules`` after the others. The result is the last module's.

        Raises:
            ServiceError: as :meth:`migrate`.
        """
        try:
            result = await self.migrate(request, modules)
        except ServiceError:
            raise
        except Exception as error:
            raise service_error_of(error).with_fields(module=request.module) from error
        return result if isinstance(result, UUID) else last_with_dependencies(result)

    async def retry(self, run: Run, origin: Origin, wait_s: float | None) -> MigrateAllResult | UUID:
        """Like :meth:`migrate`, for the modules that did not succeed in ``run``, with their options in that run.

        Raises:
            ServiceError: run_not_retryable, if it has not ended, or succeeded.
        """
        require_retryable(run)
        request = MigrationRequest(module=ALL_MODULES, origin=origin, wait_s=wait_s, retry_of=run.id)
        left_out = (await self._registrations.catch_up()).left_out()
        names = [
            child.module for child in run.modules or () if child.status != "succeeded" and child.module not in left_out
        ]
        had = await self._database.with_timeout(self._children.options(run.id))
        options = {name: msgspec.structs.replace(had[name], plan=None, canary=0) for name in names}
        return await self._waiter.result(await self._create(names, request, {}, options), wait_s, MigrateAllResult)

    async def cancel(self, run: UUID) -> bool:
        """Cancel the active child and start no other; False if the run has ended."""
        if not await self._store.request_cancel(run):
            return False
        child = await self._children.next(run)
        if child is not None and child.child is not None:
            await self._store.cancel(child.child)
        elif child is not None:
            await self._finish_early(run, "cancelled", to_document(_cancelled(run)))
        return True

    async def process(self, run: UUID) -> None:
        """Process ``run`` as far as possible now.

        Raises:
            RetryLater: it has to be processed later, or by another replica.
        """
        try:
            with structlog.contextvars.bound_contextvars(run_id=str(run)):
                while await self._advance(run):
                    pass
        except Exception as error:
            problem = service_error_of(error)
            if problem.code in _TEMPORARY or is_unavailable(error):
                raise RetryLater(0.0 if problem.code == "shutting_down" else _SOON_S) from error
            log_failure(problem, error)
            await self._finish_early(run, "failed", to_document(problem))

    async def _advance(self, run: UUID) -> bool:
        """Start or end one child; returns whether more can be done now."""
        child = await self._children.next(run)
        if child is None:
            return False
        if child.child is not None:
            return await self._children.has_ended(child.child) and await self._end(run, child)
        if child.cancelled:
            return await self._finish_early(run, "cancelled", to_document(_cancelled(run)))
        if child.position is None:
            await self._children.finish(run, "succeeded", None)
            logger.info("run of all modules ended", status="succeeded")
            return False
        return await self._start(run, child, child.position)

    async def _start(self, run: UUID, child: NextChild, position: int) -> bool:
        assert child.module is not None
        origin = Origin(
            principal=child.created_by,
            request_id=child.request_id,
            traceparent=child.traceparent,
            # A child that was created, but not recorded as the one at this position, is found again.
            key=f"{run}, module {position}",
        )
        if child.problem is not None:
            return await self._fail(run, position, "failed", msgspec.json.decode(child.problem))
        try:
            submitted = await self._submitter.submit(
                MigrationRequest(
                    module=child.module,
                    origin=origin,
                    options=msgspec.json.decode(child.options or "{}", type=RunOptions),
                    stored=msgspec.json.decode(child.stored or "{}", type=dict[str, str]),
                )
            )
        except ServiceError as problem:
            if problem.code in _TEMPORARY:
                raise
            return await self._fail(run, position, "failed", to_document(problem))
        if not isinstance(submitted, UUID):
            await self._children.end(run, position, "succeeded", submitted)
        elif await self._children.start(run, position, submitted, self._replica):
            await self._store.cancel(submitted)
        return True

    async def _end(self, run: UUID, child: NextChild) -> bool:
        """Copy the outcome of a child run."""
        assert child.child is not None
        assert child.position is not None
        try:
            status, _, result, problem = await self._queries.outcome(child.child)
        except ServiceError as pruned:
            status, result, problem = "failed", None, to_document(pruned)
        if isinstance(result, MigrateResult):
            await self._children.end(run, child.position, status, result)
            return True
        problem = problem or to_document(_cancelled(child.child))
        return await self._fail(run, child.position, status, problem | {"module": child.module})

    async def _fail(self, run: UUID, position: int, status: str, problem: dict[str, Any]) -> bool:
        await self._children.end(run, position, status, None)
        return await self._finish_early(run, status, problem)

    async def _finish_early(self, run: UUID, status: str, problem: dict[str, Any]) -> bool:
        children = await self._children.of(run)
        problem |= {
            "items": [child.result for child in children if child.result is not None],
            "not_reached": [child.module for child in children if child.status == "queued"],
        }
        await self._children.finish(run, status, problem)
        logger.warning(
            "run of all modules ended", status=status, problem_code=problem["code"], module=problem.get("module")
        )
        return False

    async def _create(
        self,
        names: Sequence[str],
        request: MigrationRequest,
        left_out: Mapping[str, Module],
        options: Mapping[str, RunOptions] | None = None,
    ) -> UUID:
        """A new run of the modules, in this order, or the one that the request's key leads to."""
        if self._slots.stopping:
            raise ServiceError("shutting_down", "The service is stopping. Another replica handles the request.")
        run = uuid4()
        options = options or {request.module: request.options}
        default = RunOptions(not_before=request.options.not_before, if_closed=request.options.if_closed)
        children = [await self._child(name, options.get(name, default)) for name in names]
        children += [_left_out(name, invalid) for name, invalid in left_out.items()]
        while True:
            try:
                await self._database.with_timeout(self._children.create(run, children, request))
            except KeyTakenError:
                existing = await self._keys.find_run(request)
                if existing is not None:
                    return existing.run
            else:
                logger.info("run of all modules queued", run_id=str(run), modules=len(names))
                return run

    async def _child(self, name: str, options: RunOptions) -> NewChild:
        """A child with this replica's current files: another replica may start it."""
        try:
            bundle = await self._lookup.bundle(await self._lookup.get(name))
            await self._database.with_timeout(self._registrations.store_bundle(name, bundle))
        except Exception as error:
            problem = service_error_of(error).with_fields(module=name)
            if problem.code in _TEMPORARY:
                raise problem from error
            return NewChild(name, problem=to_document(problem))
        return NewChild(name, bundle.digest, options=options)

    async def _up_to_date(self, names: Sequence[str], request: MigrationRequest) -> MigrateAllResult | None:
        """The result if nothing is pending in any module. A module's error is reported when it is that module's
        turn."""
        started = time.perf_counter()
        results: list[MigrateResult] = []
        for name in names:
            try:
                of_module = MigrationRequest(module=name, origin=request.origin)
                if name == request.module:
                    of_module = request
                result = await self._targets.find_pending(of_module)
            except Exception as error:
                if name == request.module or service_error_of(error).code == "database_unavailable":
                    raise
                return None
            if not isinstance(result, MigrateResult):
                return None
            results.append(result)
        return all_of(results, _ms_since(started))

    async def _dry_run(self, names: Sequence[str], request: MigrationRequest) -> MigrateAllResult:
        started = time.perf_counter()
        results: list[MigrateResult] = []
        for position, name in enumerate(names):
            try:
                of_module = MigrationRequest(module=name, origin=request.origin, dry_run=True)
                result = await self._submitter.migrate(request if name == request.module else of_module)
            except ServiceError as problem:
                raise problem.with_fields(items=results, not_reached=list(names[position + 1 :])) from None
            assert isinstance(result, MigrateResult)
            results.append(result)
        return all_of(results, _ms_since(started))


def last_with_dependencies(result: MigrateAllResult) -> MigrateResult:
    """The result of the last module, with those of the others as its dependencies."""
    *dependencies, last = result.items
    last.dependencies = dependencies
    return last


def _left_out(name: str, invalid: Module) -> NewChild:
    try:
        require_valid(invalid)
    except ServiceError as problem:
        return NewChild(name, problem=to_document(problem), is_left_out=True)
    raise AssertionError(f"{invalid.name} is valid")


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _cancelled(run: UUID) -> ServiceError:
    return ServiceError(
        "run_cancelled", f"Run {run} was cancelled. What it had applied before stays applied.", run_id=str(run)
    )
