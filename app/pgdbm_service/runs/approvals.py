"""Approves and rejects runs that have not started, or starts them in an emergency (break glass)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ..api.common import Approvals
from ..api.runs import BreakGlass, RunOptions
from ..database.audit import break_glass_entry, write_entries
from ..database.failures import service_error_of
from ..database.retrying import repeated_on_conflict
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from ..errors import ServiceError, invalid_request, to_document
from .queries import unknown_run
from .queue import Item, enqueue
from .store import ALONE, CANARIES, as_json

if TYPE_CHECKING:
    from uuid import UUID

    from pgdbm.core.connection import RowDict
    from pgdbm.core.manager import AsyncDatabaseManager
    from pgdbm.core.transaction import TransactionManager

    from ..api.approvals import ApproveBody
    from ..database.pool import Database
    from .plan_binding import BoundPlan, PlanBinding
    from .request import Origin
    from .store import Store

logger = structlog.get_logger("pgdbm_service")


class RunApprovals:
    """The owner of the table of approvals."""

    def __init__(self, database: Database, binding: PlanBinding, store: Store) -> None:
        self._database = database
        self._binding = binding
        self._store = store

    async def approve(self, run: UUID, body: ApproveBody, principal: str) -> None:
        """Approve a run; the last approval that it needs puts it into the queue.

        Raises:
            ServiceError: run_unknown, run_not_waiting, self_approval; plan_moved, if ``body`` names a different plan,
                or the pending migrations have changed, which ends the run; invalid_request, if a required reason is
                missing.
        """
        await self._require_current(run, body.plan)

        @repeated_on_conflict
        async def write() -> None:
            async with self._db.transaction() as tx:
                row = await self._lock_waiting(tx, run, principal)
                _require_plan(row, body.plan)
                approvals = msgspec.json.decode(row["approvals"], type=Approvals)
                if approvals.require_reason and body.reason is None:
                    raise invalid_request([{"field": "reason", "message": f"{row['module']} requires one"}])
                if not await tx.fetch_all(_sql("add"), run, principal, body.reason):
                    return
                given = row["given"] + 1
                needed = row["approvals_needed"]
                event = {
                    "principal": principal,
                    "reason": body.reason,
                    "approval_count": given,
                    "required_count": needed,
                }
                is_enough = given >= needed
                await self._record(tx, run, "approved", event, "queued" if is_enough else None)
                if is_enough:
                    await self._enqueue(tx, run)

        await write()
        logger.info("run approved", run_id=str(run), by=principal)

    async def reject(self, run: UUID, principal: str, reason: str | None) -> None:
        """End a run that waits for approvals.

        Raises:
            ServiceError: run_unknown, run_not_waiting, self_approval.
        """

        @repeated_on_conflict
        async def write() -> None:
            async with self._db.transaction() as tx:
                row = await self._lock_waiting(tx, run, principal)
                why = "." if reason is None else f": {reason}"
                problem = ServiceError(
                    "run_rejected",
                    f"{principal} rejected the run{why}\nNothing was applied.",
                    module=row["module"],
                    principal=principal,
                    reason=reason,
                )
                await tx.execute(_sql("end_schemas"), run, "cancelled", "cancelled", as_json(to_document(problem)))
                await self._record(tx, run, "rejected", {"principal": principal, "reason": reason}, None)

        await write()
        await self._store.finish(run)
        logger.info("run rejected", run_id=str(run), by=principal)

    async def break_glass(self, run: UUID, origin: Origin, address: str, reason: str) -> UUID:
        """Let a run start without the approvals that it lacks, even if it is held. The key of its audit entry.

        Raises:
            ServiceError: run_unknown, run_not_waiting.
        """
        at = datetime.now(UTC)

        @repeated_on_conflict
        async def write() -> UUID:
            async with self._db.transaction() as tx:
                row = await self._lock(tx, run)
                if row["is_started"] or row["has_ended"]:
                    raise _not_waiting(row)
                broken = BreakGlass(principal=origin.principal, reason=reason, at=at)
                await tx.execute(_sql("break_glass"), run, as_json(broken))
                event = {"principal": origin.principal, "reason": reason}
                await self._record(tx, run, "break_glass", event, "queued")
                await self._enqueue(tx, run)
                await tx.execute(_sql("wake"), run)
                entry = break_glass_entry(
                    origin.principal,
                    address,
                    origin.request_id or "",
                    "/runs/{run_id}/break-glass",
                    reason,
                    module=row["module"],
                    run_id=str(run),
                    http_status=200,
                )
                await write_entries(tx, [entry])
                return entry[0]

        key = await write()
        logger.warning("glass broken", run_id=str(run), by=origin.principal)
        return key

    async def schemas(self, run: UUID) -> list[str]:
        """The schemas of a run, in order."""
        return [row["schema"] for row in await self._db.fetch_all(_sql("plans"), run)]

    async def require(self, run: UUID, bound: BoundPlan) -> bool:
        """Bind a run that has not started to a plan; returns whether it now waits for approvals."""

        @repeated_on_conflict
        async def write() -> bool:
            async with self._db.transaction() as tx:
                row = await self._lock(tx, run)
                if row["plan"] not in (None, bound.digest):
                    # The approvals were for another plan.
                    await tx.execute(_sql("delete"), run)
                await tx.execute(
                    _sql("require"),
                    run,
                    bound.digest,
                    as_json(bound.approvals),
                    list(bound.schemas),
                    list(bound.plans),
                    bound.needed,
                )
                given = row["given"] if row["plan"] == bound.digest else 0
                if given >= bound.needed or row["is_started"] or row["has_ended"]:
                    return False
                event = {"plan": bound.digest, "required_count": bound.needed, "approval_count": given}
                await self._record(tx, run, "waiting_for_approval", event, "waiting_for_approval")
                return True

        return await write()

    async def void_moved(self, module: str | None = None) -> None:
        """End the runs that wait for the approval of a plan that has changed."""
        for row in await self._db.fetch_all(_sql("waiting"), module):
            try:
                await self._require_current(row["id"], None)
            except ServiceError as problem:
                if problem.code != "plan_moved":
                    logger.warning("plan not compared", run_id=str(row["id"]), problem_code=problem.code)

    async def require_unmoved(self, run: UUID) -> None:
        """Raise a ServiceError (plan_moved) if the approvals of a run that is about to start are void; the run has then
        ended."""
        await self._require_current(run, None)

    async def is_current(self, run: UUID) -> bool:
        """Whether a run that has just been created still waits for the approval of what is pending; it has ended
        otherwise. True for a run that has started."""
        try:
            await self._require_current(run, None)
        except ServiceError as problem:
            if problem.code != "plan_moved":
                raise
            return False
        return True

    async def _require_current(self, run: UUID, plan: str | None) -> None:
        """End a run that has not started if the pending migrations differ from the plan that it is bound to.

        Raises:
            ServiceError: plan_moved, also if ``plan`` is given and differs. Also raises whatever planning raises.
        """
        rows = await self._db.fetch_all(_sql("bound"), run)
        if not rows:
            raise unknown_run(run)
        row = rows[0]
        if row["plan"] is None or row["is_started"] or row["has_ended"]:
            return
        if plan is not None:
            _require_plan(row, plan)
        plans = [(one["schema"], one["plan"]) for one in await self._db.fetch_all(_sql("plans"), run)]
        options = msgspec.json.decode(row["options"], type=RunOptions)
        try:
            await self._binding.require_unmoved(row["module"], row["bundle"], options.target, plans, row["plan"])
        except Exception as error:
            problem = service_error_of(error)
            if problem.code in ("plan_moved", "checksum_changed", "out_of_order"):
                await self._void(run, problem.with_fields(run_id=str(run), module=row["module"]))
            raise problem from error

    async def _void(self, run: UUID, problem: ServiceError) -> None:
        @repeated_on_conflict
        async def write() -> None:
            async with self._db.transaction() as tx:
                row = await self._lock(tx, run)
                if row["is_started"] or row["has_ended"]:
                    return
                await tx.execute(_sql("delete"), run)
                await tx.execute(_sql("end_schemas"), run, "failed", "not_reached", as_json(to_document(problem)))
                await self._record(
                    tx, run, "approvals_voided", {"reason": problem.detail, "approval_count": row["given"]}, None
                )

        await write()
        await self._store.finish(run)
        logger.warning("approvals voided", run_id=str(run), **problem.for_log())

    async def _lock(self, tx: TransactionManager, run: UUID) -> RowDict:
        await tx.execute(_sql("lock"), run)
        row = await tx.fetch_one(_sql("locked"), run)
        if row is None:
            raise unknown_run(run)
        return row

    async def _lock_waiting(self, tx: TransactionManager, run: UUID, principal: str) -> RowDict:
        row = await self._lock(tx, run)
        if row["status"] != "waiting_for_approval" or row["has_ended"]:
            raise _not_waiting(row)
        if row["created_by"] == principal:
            raise ServiceError(
                "self_approval",
                f"{principal} requested run {run}: someone else has to decide about it.",
                module=row["module"],
                run_id=str(run),
            )
        return row

    async def _record(self, tx: TransactionManager, run: UUID, kind: str, data: Any, status: str | None) -> None:
        document = {name: value for name, value in data.items() if value is not None}
        await tx.execute(_sql("record"), run, status, kind, as_json(document))

    async def _enqueue(self, tx: TransactionManager, run: UUID) -> None:
        chunks = sorted({one["chunk"] for one in await tx.fetch_all(_sql("plans"), run)})
        first = chunks[:1] if chunks[0] == CANARIES else chunks
        await enqueue(tx.connection, [Item(run, chunk) for chunk in first], priority=ALONE)

    @property
    def _db(self) -> AsyncDatabaseManager:
        return self._database.manager(SERVICE_SCHEMA)


def _sql(name: str) -> str:
    return statement("run_approvals", name)


def _require_plan(row: RowDict, plan: str) -> None:
    if row["plan"] != plan:
        raise ServiceError(
            "plan_moved",
            f"Run {row['id']} is not bound to the plan that was approved. Nothing was approved.",
            module=row["module"],
            run_id=str(row["id"]),
            plan=plan,
            current_plan=row["plan"],
        )


def _not_waiting(row: RowDict) -> ServiceError:
    return ServiceError(
        "run_not_waiting",
        f"Run {row['id']} is {row['status'].replace('_', ' ')}: it does not wait for a decision.",
        module=row["module"],
        run_id=str(row["id"]),
        run_status=row["status"],
    )
