"""POST /runs/{id}/approve, /reject and /break-glass."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from litestar import Controller, post
from litestar.params import Body

from ..api.approvals import ApproveBody, BreakGlassBody, RejectBody
from ..api.runs import Run
from ..auth import require
from ..database.pool import Database
from ..runs.request import Origin
from ..runs.service import RunService
from ..web.openapi import OptionalBodyOperation
from ..web.problems import error_responses
from ..web.request import HTTPRequest, principal_of

_READ_ONE = ("run_unknown", "database_unavailable", "lock_timeout")
_OPTIONAL = Body(description="Optional.")


class ApprovalController(Controller):
    path = "/runs"
    tags = ("runs",)

    @post(
        "/{run_id:uuid}/approve",
        status_code=200,
        opt={"needs": "approve_some"},
        responses=error_responses(
            "cross_origin",
            "self_approval",
            "plan_moved",
            "checksum_changed",
            "out_of_order",
            "run_not_waiting",
            *_READ_ONE,
        ),
    )
    async def approve_run(
        self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID, data: ApproveBody
    ) -> Run:
        """Approve the plan of a run that waits for it. With the last approval that it needs, the run starts.

        The principal who requested the run cannot approve it. If the pending migrations have changed, the run ends.
        """
        principal = await _approver(request, database, runs, run_id, data.reason)
        await runs.approvals.approve(run_id, data, principal)
        return await database.with_timeout(runs.queries.run(run_id))

    @post(
        "/{run_id:uuid}/reject",
        status_code=200,
        opt={"needs": "approve_some"},
        operation_class=OptionalBodyOperation,
        responses=error_responses("cross_origin", "self_approval", "run_not_waiting", *_READ_ONE),
    )
    async def reject_run(
        self,
        request: HTTPRequest,
        database: Database,
        runs: RunService,
        run_id: UUID,
        data: Annotated[RejectBody | None, _OPTIONAL] = None,
    ) -> Run:
        """End a run that waits for approvals. Nothing is applied."""
        reason = None if data is None else data.reason
        principal = await _approver(request, database, runs, run_id, reason)
        await database.with_timeout(runs.approvals.reject(run_id, principal, reason))
        return await database.with_timeout(runs.queries.run(run_id))

    @post(
        "/{run_id:uuid}/break-glass",
        status_code=200,
        opt={"needs": "admin"},
        responses=error_responses("cross_origin", "run_not_waiting", *_READ_ONE),
    )
    async def break_glass(
        self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID, data: BreakGlassBody
    ) -> Run:
        """In an emergency: start a run without the approvals that it lacks, even if it is held.

        It applies the plan that it is bound to, and nothing else.
        """
        state = request.scope["state"]
        state["reason"] = data.reason
        origin = Origin(principal=principal_of(request).name, request_id=state["request_id"])
        state["audit_entry"] = await database.with_timeout(
            runs.approvals.break_glass(run_id, origin, state["address"], data.reason)
        )
        return await database.with_timeout(runs.queries.run(run_id))


async def _approver(
    request: HTTPRequest, database: Database, runs: RunService, run_id: UUID, reason: str | None
) -> str:
    """The name of a principal who may decide about the run."""
    run = await database.with_timeout(runs.queries.run(run_id))
    require(principal_of(request), "approve", run.module)
    request.scope["state"]["reason"] = reason
    return principal_of(request).name
