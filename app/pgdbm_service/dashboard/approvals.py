"""The pages and forms for decisions about runs: approve, reject, break the glass."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.response import Redirect

from ..api.approvals import ApproveBody
from ..api.freezes import LONGEST_REASON
from ..auth import require
from ..database.pool import Database
from ..errors import ServiceError, invalid_request
from ..features.operations.reads import OperationQueries
from ..runs.request import Origin
from ..runs.service import RunService
from ..web.request import HTTPRequest, principal_of
from .forms import Form, text_in
from .lock_words import locked_relations
from .showing import confirm, show_error
from .wording import count

if TYPE_CHECKING:
    from ..api.plans import Plan
    from ..api.runs import Run


class DecisionController(Controller):
    path = "/ui/runs/{run_id:uuid}"
    include_in_schema = False
    opt = {"needs": "approve_some", "cookie": "page"}  # noqa: RUF012 - Litestar merges it into each handler's
    exception_handlers = {Exception: show_error}  # noqa: RUF012 - Litestar reads it once

    @get("/approve")
    async def confirm_approval(
        self,
        request: HTTPRequest,
        database: Database,
        runs: RunService,
        operation_queries: OperationQueries,
        run_id: UUID,
    ) -> Response[str]:
        """Ask for confirmation, showing the run's plan; the form sends its digest."""
        run = await _run_to_decide(request, database, runs, run_id)
        if run.approval is None or run.status != "waiting_for_approval":
            raise _not_waiting(run)
        plan = await plan_of(operation_queries, run)
        several = run.schema_counts.total > 1
        where = count(run.schema_counts.total, "schema") if several else f"schema {plan.schema}"
        texts = [f"{run.created_by} wants to apply {count(len(plan.pending), 'migration')} to {where}."]
        if several:
            texts.append(f"Below is the plan for {plan.schema}; the digest covers the plans for all of them.")
        return confirm(
            request,
            title=f"Approve the run of {run.module}?",
            texts=texts,
            rows=[(f"{one.mode} on {one.relation}", one.words) for one in locked_relations(plan)],
            rows_title="What is locked",
            files=[one.filename for one in plan.pending],
            fields={"plan": run.approval.plan},
            digest=run.approval.plan,
            asks_reason="required" if run.approval.require_reason else "optional",
            verb="Approve",
            tone="primary",
            **_addresses(run, "approve"),
        )

    @get("/reject")
    async def confirm_rejection(
        self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID
    ) -> Response[str]:
        run = await _run_to_decide(request, database, runs, run_id)
        if run.status != "waiting_for_approval":
            raise _not_waiting(run)
        return confirm(
            request,
            title=f"Reject the run of {run.module}?",
            texts=[f"The run that {run.created_by} requested ends, and nothing is applied."],
            asks_reason="optional",
            verb="Reject",
            tone="danger",
            **_addresses(run, "reject"),
        )

    @get("/break-glass", opt={"needs": "admin"})
    async def confirm_break_glass(
        self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID
    ) -> Response[str]:
        run = await database.with_timeout(runs.queries.run(run_id))
        if run.started_at is not None or run.ended_at is not None:
            raise _not_waiting(run)
        return confirm(
            request,
            title=f"Start the run of {run.module} without approvals?",
            texts=[
                "For emergencies: it starts now, although it is not approved, or its module is frozen or outside its "
                "windows. The audit records you and the reason."
            ],
            asks_reason="required",
            verb="Start it now",
            tone="danger",
            **_addresses(run, "break-glass"),
        )

    @post("/approve")
    async def approve(
        self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID, data: Form
    ) -> Redirect:
        await _run_to_decide(request, database, runs, run_id)
        body = ApproveBody(plan=data.get("plan", ""), reason=_reason_in(request, data))
        await runs.approvals.approve(run_id, body, principal_of(request).name)
        return _see(run_id)

    @post("/reject")
    async def reject(
        self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID, data: Form
    ) -> Redirect:
        await _run_to_decide(request, database, runs, run_id)
        reason = _reason_in(request, data)
        await database.with_timeout(runs.approvals.reject(run_id, principal_of(request).name, reason))
        return _see(run_id)

    @post("/break-glass", opt={"needs": "admin"})
    async def break_glass(
        self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID, data: Form
    ) -> Redirect:
        reason, state = _reason_in(request, data), request.scope["state"]
        if reason is None:
            raise invalid_request([{"field": "reason", "message": "say why"}])
        origin = Origin(principal=principal_of(request).name, request_id=state["request_id"])
        breaking = runs.approvals.break_glass(run_id, origin, state["address"], reason)
        # The audit already has it.
        state["audit_entry"] = await database.with_timeout(breaking)
        return _see(run_id)


async def plan_of(operation_queries: OperationQueries, run: Run) -> Plan:
    """What a run of one module would apply now, in its first schema."""
    return await operation_queries.plan(run.module, run.schemas[0].schema, run.options.target)


async def _run_to_decide(request: HTTPRequest, database: Database, runs: RunService, run_id: UUID) -> Run:
    """The run, for a principal who may approve it."""
    run = await database.with_timeout(runs.queries.run(run_id))
    require(principal_of(request), "approve", run.module)
    return run


def _not_waiting(run: Run) -> ServiceError:
    """The run has moved on since the page with the button was shown."""
    detail = f"Run {run.id} needs no approval." if run.approval is None else f"Run {run.id} is {run.status}."
    return ServiceError("run_not_waiting", detail, run_id=str(run.id))


def _reason_in(request: HTTPRequest, form: Form) -> str | None:
    reason = text_in(form, "reason")
    if reason is not None:
        reason = reason[:LONGEST_REASON]
    request.scope["state"]["reason"] = reason
    return reason


def _addresses(run: Run, action: str) -> dict[str, str]:
    page = f"/ui/runs/{run.id}"
    return {"action": f"{page}/{action}", "back": page, "back_word": f"run {str(run.id)[:8]}"}


def _see(run: UUID) -> Redirect:
    return Redirect(f"/ui/runs/{run}", status_code=303)
