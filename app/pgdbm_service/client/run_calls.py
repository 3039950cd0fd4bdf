"""The calls of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..api.approvals import ApproveBody, BreakGlassBody, RejectBody
from ..api.runs import Run, RunItem, RunList, RunSchema, RunSchemaList, RunStatus, SchemaStatus
from .call import Call, Listing
from .endpoints import call, listing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID


class RunCalls:
    """Both clients' calls about runs, except for following a run."""

    @listing
    def list_runs(
        self,
        *,
        module: str | None = None,
        status: RunStatus | Sequence[RunStatus] | None = None,
        schema: str | None = None,
        created_by: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Listing[RunItem]:
        """Runs, newest first."""
        query = {
            "module": module,
            "status": status if status is None or isinstance(status, str) else ",".join(status),
            "schema": schema,
            "created_by": created_by,
            "since": None if since is None else str(since),
            "until": None if until is None else str(until),
        }
        return Listing(path="/runs", query=query, page=RunList, limit=limit)

    @call
    def get_run(self, run_id: UUID | str) -> Call[Run]:
        """One run: its progress by file and statement, what it waits for, how it ended."""
        return Call(method="GET", path="/runs/{run_id}", parts={"run_id": run_id}, answer=Run)

    @listing
    def list_run_schemas(
        self, run_id: UUID | str, *, status: SchemaStatus | None = None, limit: int | None = None
    ) -> Listing[RunSchema]:
        """The schemas of a run, in order, each with its status and the migrations that were applied."""
        path = "/runs/{run_id}/schemas"
        return Listing(path=path, parts={"run_id": run_id}, query={"status": status}, page=RunSchemaList, limit=limit)

    @call
    def cancel_run(self, run_id: UUID | str) -> Call[Run]:
        """Stop a run. What it has applied stays applied; the current statement is cancelled and rolled back."""
        return Call(method="POST", path="/runs/{run_id}/cancel", parts={"run_id": run_id}, answer=Run)

    @call
    def retry_run(self, run_id: UUID | str, *, idempotency_key: str | None = None) -> Call[Run]:
        """Migrate the schemas in which a run did not succeed, and no others, with the files as they are now.

        For a run of all modules: the modules that did not succeed. Returns the new run, which has not ended.
        """
        return Call(
            method="POST",
            path="/runs/{run_id}/retry",
            parts={"run_id": run_id},
            headers={"Prefer": "respond-async", "Idempotency-Key": idempotency_key},
            answer=Run,
            accepted=Run,
            is_repeatable=idempotency_key is not None,
        )

    @call
    def approve_run(self, run_id: UUID | str, plan: str, *, reason: str | None = None) -> Call[Run]:
        """Approve the plan of a run that waits for it; ``plan`` is the digest of the plan that was read."""
        path, body = "/runs/{run_id}/approve", ApproveBody(plan=plan, reason=reason)
        return Call(method="POST", path=path, parts={"run_id": run_id}, body=body, answer=Run, is_repeatable=True)

    @call
    def reject_run(self, run_id: UUID | str, *, reason: str | None = None) -> Call[Run]:
        """End a run that waits for approvals. Nothing is applied."""
        path, body = "/runs/{run_id}/reject", RejectBody(reason=reason)
        return Call(method="POST", path=path, parts={"run_id": run_id}, body=body, answer=Run)

    @call
    def break_glass(self, run_id: UUID | str, reason: str) -> Call[Run]:
        """In an emergency: start a run without the approvals that it lacks, even if it is held."""
        path, body = "/runs/{run_id}/break-glass", BreakGlassBody(reason=reason)
        return Call(method="POST", path=path, parts={"run_id": run_id}, body=body, answer=Run)
