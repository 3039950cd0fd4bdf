"""The calls about runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runs.structs import (
    Run,
    RunList,
    RunSchema,
    RunSchemaList,
    RunStatus,
    RunSummary,
    SchemaStatus,
)
from .call import Call, Listing
from .endpoints import call, listing

if TYPE_CHECKING:
    from uuid import UUID


class RunCalls:
    """What both clients can do with runs, besides following them."""

    @listing
    def list_runs(
        self, *, module: str | None = None, status: RunStatus | None = None, limit: int | None = None
    ) -> Listing[RunSummary]:
        """Runs, newest first."""
        return Listing(path="/runs", query={"module": module, "status": status}, page=RunList, limit=limit)

    @call
    def get_run(self, run_id: UUID | str) -> Call[Run]:
        """One run: where it is, statement by statement, what it waits for, how it ended."""
        return Call(method="GET", path="/runs/{run_id}", parts={"run_id": run_id}, answer=Run)

    @listing
    def list_run_schemas(
        self, run_id: UUID | str, *, status: SchemaStatus | None = None, limit: int | None = None
    ) -> Listing[RunSchema]:
        """The schemas of a run, in their order, each with what came of it."""
        path = "/runs/{run_id}/schemas"
        return Listing(path=path, parts={"run_id": run_id}, query={"status": status}, page=RunSchemaList, limit=limit)

    @call
    def cancel_run(self, run_id: UUID | str) -> Call[Run]:
        """Stop a run. What it had applied stays; the statement at work is cancelled and rolled back."""
        return Call(method="POST", path="/runs/{run_id}/cancel", parts={"run_id": run_id}, answer=Run)

    @call
    def retry_run(self, run_id: UUID | str, *, idempotency_key: str | None = None) -> Call[Run]:
        """Migrate the schemas in which a run did not succeed, and no others, with the files as they are now.

        Of a run of all modules, the modules. The answer is the new run, which goes on.
        """
        return Call(
            method="POST",
            path="/runs/{run_id}/retry",
            parts={"run_id": run_id},
            headers={"Prefer": "respond-async", "Idempotency-Key": idempotency_key},
            answer=Run,
            goes_on=Run,
            is_repeatable=idempotency_key is not None,
        )
