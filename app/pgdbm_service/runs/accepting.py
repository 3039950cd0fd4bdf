"""From a request to a run, or to an answer without one; and waiting for its end."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import msgspec
import structlog

from pgdbm.errors import ConfigurationError

from ..errors import Problem, invalid_request, problem_from, problem_of
from .dependencies import require_dependencies
from .pending import schemas_with_pending
from .store import KeyTakenError, NewRun
from .structs import MigrateAllResult, MigrateBody, MigrateResult, Wishes
from .worker import require_plan, unfit_for_one_transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.migrations.plan import Plan

    from ..database import Database
    from ..executor import Executor
    from ..managers import Managers
    from ..registry import Module
    from .feeds import Feeds
    from .reading import Reader
    from .store import Store
    from .structs import Run
    from .worker import Worker

_WISHES = Wishes.__struct_fields__

logger = structlog.get_logger("pgdbm_service")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and how. ``wait_s`` None: for as long as it takes. ``key`` is an Idempotency-Key."""

    caller: str
    request_id: str | None = None
    traceparent: str | None = None
    key: str | None = None
    wait_s: float | None = None


class Acceptor:
    def __init__(
        self,
        database: Database,
        executor: Executor,
        managers: Managers,
        store: Store,
        reader: Reader,
        feeds: Feeds,
        worker: Worker,
    ) -> None:
        self._database = database
        self._executor = executor
        self._managers = managers
        self._store = store
        self._reader = reader
        self._feeds = feeds
        self._worker = worker

    async def migrate(self, name: str, body: MigrateBody, request: Request) -> MigrateResult | UUID:
        """What came of migrating, or the run that goes on when the wait is over.

        Raises:
            Problem: with ``module``, and whatever else the code's page names.
        """
        try:
            if body.dry_run:
                # Parsing has no time limit, but that the database is away should be found out soon.
                await self._database.check()
                return await self._dry_run(name, body)
            accepted = await self.accept(name, body, request)
            return await self._waited(accepted, request) if isinstance(accepted, UUID) else accepted
        except Exception as error:
            problem = problem_of(error).with_fields(module=name)
            logger.warning("migrate refused", module=name, problem=problem.code, reason=problem.detail)
            raise problem from error

    async def accept(self, name: str, body: MigrateBody, request: Request) -> MigrateResult | UUID:
        """A run, new or under way, that migrates a module; its result at once, where nothing is pending.

        Raises:
            Problem: with ``module``.
        """
        try:
            return await self._database.within_limit(self._accept(name, body, request))
        except Exception as error:
            raise problem_of(error).with_fields(module=name) from error

    async def retry(self, before: Run, request: Request) -> MigrateResult | UUID:
        """A run as ``before`` was, in the schemas in which that did not succeed, with the files as they are now.

        Raises:
            Problem: run_not_retryable, where it is under way or nothing of it failed.
        """
        require_retryable(before)
        schemas = await self._reader.undone(before.id)
        wishes = msgspec.structs.asdict(before.wishes) | {"schemas": tuple(schemas), "plan": None, "canary": 0}
        try:
            module = await self._managers.current(before.module)
            accepted = await self._database.within_limit(
                self._begin(
                    module, Wishes(**wishes), schemas, request, digest_of(["retry", before.id]), retry_of=before.id
                )
            )
            return await self._waited(accepted, request)
        except Exception as error:
            raise problem_of(error).with_fields(module=before.module) from error

    async def _waited(self, run: UUID, request: Request) -> MigrateResult | UUID:
        result = await self.wait(run, request.wait_s)
        assert not isinstance(result, MigrateAllResult)
        return result

    async def wait(self, run: UUID, wait_s: float | None) -> MigrateResult | MigrateAllResult | UUID:
        """The result of ``run``; the run itself when ``wait_s`` is over.

        Raises:
            Problem: why it failed, with ``run_id``; shutting_down, where this replica stops before it ends.
        """
        if wait_s is not None and wait_s <= 0:
            return run
        try:
            async with asyncio.timeout(wait_s):
                await self._until_it_ends(run)
        except TimeoutError:
            return run
        status, result, problem = await self._reader.outcome(run)
        if result is not None:
            return result
        if problem is not None:
            raise problem_from(problem | {"run_id": str(run)})
        if status == "cancelled":
            raise Problem("run_cancelled", f"Run {run} was cancelled before it began.", run_id=str(run))
        raise Problem("shutting_down", f"The service is stopping; run {run} goes on elsewhere.", run_id=str(run))

    async def _until_it_ends(self, run: UUID) -> None:
        """Return when the run has ended, or when this replica stops and does not work on it."""
        async with self._feeds.follow(run) as feed:
            while not feed.has_ended:
                changed = feed.changed
                if self._feeds.stopping:
                    await self._worker.until_idle(run)
                    return
                if not feed.has_ended:
                    await changed.wait()

    async def _accept(self, name: str, body: MigrateBody, request: Request) -> MigrateResult | UUID:
        digest = ""
        if request.key is not None:
            digest = digest_of([name, msgspec.structs.replace(body, wait_s=None)])
            known = await self.of_key(request.caller, request.key, digest)
            if known is not None:
                return known
        module, schemas = await self._found(name, body)
        looked = await self._pending_in(module, schemas, body)
        if isinstance(looked, MigrateResult):
            return looked
        wishes = Wishes(**{field: getattr(body, field) for field in _WISHES})
        return await self._begin(module, wishes, looked, request, digest)

    async def is_up_to_date(self, name: str) -> MigrateResult | None:
        """The result of migrating a module, where nothing is pending."""
        looked = await self._pending_in(*await self._found(name, MigrateBody()), MigrateBody())
        return looked if isinstance(looked, MigrateResult) else None

    async def _pending_in(self, module: Module, schemas: list[str], body: MigrateBody) -> MigrateResult | list[str]:
        """Those of ``schemas`` in which something may be pending; the result, where in none of them something is."""
        if len(schemas) == 1:
            if body.plan is not None:
                await require_plan(self._managers.of(module, schemas[0]), body.target, body.plan)
            plan = await self._look(module, schemas[0], body.target)
            if not plan.pending:
                return _up_to_date(module, len(plan.skipped), len(plan.skipped) + len(plan.beyond_target))
        elif body.target is None:
            files = await self._managers.files(module)
            pending = await schemas_with_pending(self._database.manager(), module.name, schemas, files)
            if not pending:
                return _up_to_date(module, len(files) * len(schemas), len(files) * len(schemas))
            return pending
        return schemas

    async def _look(self, module: Module, schema: str, target: str | None) -> Plan:
        # Deployments ask by the dozen at once, mostly without a target.
        if target is None:
            return await self._managers.look(module, schema)
        return await self._managers.of(module, schema).look(target=target)

    async def _begin(
        self,
        module: Module,
        wishes: Wishes,
        schemas: Sequence[str],
        request: Request,
        digest: str,
        retry_of: UUID | None = None,
    ) -> UUID:
        """A new run, or the one under way that is to do the same with the same files."""
        if self._executor.stopping:
            raise Problem("shutting_down", "The service is stopping; another instance, or this one later, goes on.")
        await require_dependencies(self._database, self._managers, module)
        bundle = (await self._managers.bundle(module)).digest
        new = NewRun(
            id=uuid4(),
            module=module.name,
            wishes=wishes,
            digest=digest_of([wishes, bundle]),
            bundle=bundle,
            schemas=schemas,
            caller=request.caller,
            request_id=request.request_id,
            traceparent=request.traceparent,
            retry_of=retry_of,
            key=request.key,
            request=digest,
        )
        while True:
            try:
                if await self._store.create(new):
                    logger.info("run queued", run_id=str(new.id), module=module.name, schemas=len(schemas))
                    return new.id
            except KeyTakenError:
                assert request.key is not None
                known = await self.of_key(request.caller, request.key, digest)
                if known is not None:
                    return known
                continue
            joined = await self._reader.under_way(module.name, new.digest)
            if joined is not None:
                if request.key is not None:
                    await self._store.remember_key(request.caller, request.key, digest, joined)
                return joined

    async def of_key(self, caller: str, key: str, digest: str) -> UUID | None:
        """The run that the key led to before. What failed in a way that a retry can cure does not count.

        Raises:
            Problem: idempotency_key_reused, where the key came with another request.
        """
        known = await self._reader.of_key(caller, key)
        if known is None:
            return None
        run, request = known
        if request != digest:
            raise Problem(
                "idempotency_key_reused",
                "The Idempotency-Key was used before, for another module or with another body.",
                run_id=str(run),
            )
        _, _, problem = await self._reader.outcome(run)
        if problem is not None and problem["status"] == 503:
            await self._store.forget_key(caller, key)
            return None
        return run

    async def _found(self, name: str, body: MigrateBody) -> tuple[Module, list[str]]:
        module = await self._managers.current(name, body.bundle)
        schemas = await self._schemas(module, body.schemas)
        if body.plan is not None and len(schemas) != 1:
            raise invalid_request([{"field": "plan", "message": "a plan is for one schema: name it in schemas"}])
        return module, schemas

    async def _schemas(self, module: Module, wanted: Sequence[str] | None) -> list[str]:
        if wanted is None:
            schemas = await self._managers.schemas_of(module)
        else:
            schemas = list(dict.fromkeys(wanted))
            for schema in schemas:
                self._managers.of(module, schema)
        if not schemas:
            raise Problem(
                "migration_error",
                f"{module.name} is for the schemas {module.pattern}, and there is none: create them, or name them in "
                f"schemas.",
            )
        return schemas

    async def _dry_run(self, name: str, body: MigrateBody) -> MigrateResult:
        module, schemas = await self._found(name, body)
        pending: dict[str, None] = {}
        skipped = total = 0
        for schema in schemas:
            manager = self._managers.of(module, schema)
            if body.plan is not None:
                await require_plan(manager, body.target, body.plan)
            try:
                answer = await manager.apply_pending_migrations(True, target=body.target, atomic=body.atomic)
            except ConfigurationError as error:
                raise unfit_for_one_transaction(error, body.atomic) from error
            pending |= dict.fromkeys(answer["pending"])
            skipped += len(answer["skipped"])
            total += answer["total"]
        return MigrateResult(
            module=module.name,
            status="dry_run",
            applied=[],
            pending=list(pending),
            skipped=skipped,
            total=total,
            total_time_ms=None,
        )


def _up_to_date(module: Module, skipped: int, total: int) -> MigrateResult:
    return MigrateResult(
        module=module.name,
        status="up_to_date",
        applied=[],
        pending=[],
        skipped=skipped,
        total=total,
        total_time_ms=0.0,
    )


def require_retryable(run: Run) -> None:
    """Raise a Problem (run_not_retryable) where nothing of ``run`` is left to do again."""
    if run.status not in ("failed", "cancelled"):
        raise Problem(
            "run_not_retryable",
            f"Run {run.id} is {run.status}: there is nothing to retry.",
            run_id=str(run.id),
            run_status=run.status,
        )


def digest_of(value: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
