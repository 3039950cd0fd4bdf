"""Submits requests to migrate one module: each one gets a run, or a result if nothing is pending."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import structlog

from pgdbm.core.pool import without_reset

from ..api.runs import MigrateResult
from ..database.failures import service_error_of
from ..errors import ServiceError
from .idempotency import KeyedRun
from .request import MigrationRequest
from .stored_runs import KeyTakenError

if TYPE_CHECKING:
    from uuid import UUID

    from ..api.runs import Run
    from ..database.pool import Database
    from .approvals import RunApprovals
    from .create import RunCreator
    from .dry_run import DryRuns
    from .idempotency import IdempotencyKeys
    from .plan_binding import PlanBinding
    from .queries import RunQueries
    from .request import Origin
    from .targets import Targets
    from .wait import RunWaiter

logger = structlog.get_logger("pgdbm_service")


class RunSubmitter:
    def __init__(
        self,
        database: Database,
        keys: IdempotencyKeys,
        targets: Targets,
        creator: RunCreator,
        dry_runs: DryRuns,
        waiter: RunWaiter,
        queries: RunQueries,
        binding: PlanBinding,
        approvals: RunApprovals,
    ) -> None:
        self._database = database
        self._keys = keys
        self._targets = targets
        self._creator = creator
        self._dry_runs = dry_runs
        self._waiter = waiter
        self._queries = queries
        self._binding = binding
        self._approvals = approvals

    async def migrate(self, request: MigrationRequest) -> MigrateResult | UUID:
        """The result of migrating a module, or the run if it has not ended after ``wait_s``.

        Raises:
            ServiceError: with ``module`` and the other fields of its code.
        """
        try:
            if request.dry_run:
                return await self._dry_runs.dry_run(request)
            submitted = await self._submit(request)
            if isinstance(submitted, MigrateResult):
                return submitted
            run, is_stored = submitted
            return await self._waiter.result(run, request.wait_s, MigrateResult, is_stored=is_stored)
        except Exception as error:
            problem = service_error_of(error).with_fields(module=request.module)
            logger.warning("migrate refused", module=request.module, **problem.for_log())
            raise problem from error

    async def retry(self, run: Run, origin: Origin, wait_s: float | None) -> MigrateResult | UUID:
        """Like :meth:`migrate`: repeats ``run`` in the schemas in which it did not succeed, with the current files.

        Raises:
            ServiceError: run_not_retryable, if it has not ended or succeeded.
        """
        require_retryable(run)
        options = msgspec.structs.asdict(run.options)
        options |= {"schemas": tuple(await self._queries.undone(run.id)), "plan": None, "canary": 0}
        return await self.migrate(
            MigrationRequest(
                module=run.module,
                origin=origin,
                options=msgspec.convert(options, type(run.options)),
                wait_s=wait_s,
                retry_of=run.id,
            )
        )

    async def submit(self, request: MigrationRequest) -> MigrateResult | UUID:
        """A run that migrates a module, new or active, or the result if nothing is pending.

        Raises:
            ServiceError: with ``module``.
        """
        try:
            submitted = await self._submit(request)
            return submitted if isinstance(submitted, MigrateResult) else submitted.run
        except Exception as error:
            raise service_error_of(error).with_fields(module=request.module) from error

    async def _submit(self, request: MigrationRequest) -> MigrateResult | KeyedRun:
        while True:
            keyed = await self._database.with_timeout(self._keys.find_run(request))
            if keyed is not None:
                return keyed
            target = await self._targets.find_pending(request)
            if isinstance(target, MigrateResult):
                return target
            try:
                # Planning has no time limit.
                bound = await self._binding.bind(target.module, target.schemas, request.options.target)
                with without_reset():
                    creating = self._creator.create_run(request, target, bound)
                    run = await self._database.with_timeout(creating, len(target.schemas))
            except KeyTakenError:
                # A concurrent request with the same key was faster. The next lookup finds its run.
                continue
            if bound is None or not bound.needed or await self._approvals.is_current(run):
                return KeyedRun(run, is_stored=False)
            # A concurrent run has applied some of the plan since it was made.
            await self._keys.forget(request, run)


def require_retryable(run: Run) -> None:
    """Raise a ServiceError (run_not_retryable) unless ``run`` failed or was cancelled."""
    if run.status not in ("failed", "cancelled"):
        raise ServiceError(
            "run_not_retryable",
            f"Run {run.id} is {run.status}: there is nothing to retry.",
            run_id=str(run.id),
            run_status=run.status,
        )
