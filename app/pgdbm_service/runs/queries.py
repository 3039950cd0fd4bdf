"""Reads runs in the form in which the API returns them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET

from pgdbm.core.pool import without_reset

from ..api.common import Approvals
from ..api.runs import (
    ALL_MODULES,
    AppliedMigration,
    Approval,
    BreakGlass,
    MigrateAllResult,
    MigrateResult,
    MigrateStatus,
    Progress,
    RenamedMigration,
    Run,
    RunApproval,
    RunItem,
    RunOptions,
    RunSchema,
    RunSchemaList,
    RunStatus,
    RunSummary,
    SchemaCounts,
    SchemaStatus,
    StartHold,
)
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from ..errors import ServiceError
from .recent import duration_ms

if TYPE_CHECKING:
    from uuid import UUID

    from pgdbm.core.connection import RowDict

    from ..database.pool import Database
    from .child_runs import ChildRuns

_MOST_SCHEMAS = 50
_MOST_APPLIED = 1000
_MOST_FAILED = 100
_MOST_NAMED = 5
_IN_ORDER = "s.position"
_URGENT_FIRST = "s.status <> 'failed', s.status <> 'running', s.position"


class EventRow(msgspec.Struct, frozen=True):
    number: int
    kind: str
    data: dict[str, Any]
    at: datetime


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for runs, which match every field that is not None. ``since`` and ``until`` limit ``created_at``.

    The fields are in the order of the statements' parameters.
    """

    modules: tuple[str, ...] | None = None
    statuses: tuple[str, ...] | None = None
    schema: str | None = None
    created_by: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def condition_of(wanted: RunFilter) -> str:
    """The condition of the index runs_not_succeeded if ``wanted`` implies it, because a generic plan does not see
    parameters."""
    return "" if wanted.statuses is None or "succeeded" in wanted.statuses else "AND status <> 'succeeded'"


class Outcome(NamedTuple):
    """How a run ended: ``result`` if it succeeded, ``problem`` if it failed."""

    status: RunStatus
    has_ended: bool
    result: MigrateResult | MigrateAllResult | None = None
    problem: dict[str, Any] | None = None


class RunQueries:
    def __init__(self, database: Database, children: ChildRuns) -> None:
        self._database = database
        self._children = children

    async def run(self, run: UUID) -> Run:
        """One run, with up to fifty of its schemas.

        Raises:
            ServiceError: run_unknown.
        """
        row = await self._run(run)
        of_all = row["module"] == ALL_MODULES
        counts = await self._counts(run)
        schemas = await self._rows("schemas", run, None, 0, _MOST_SCHEMAS, order=_URGENT_FIRST)
        return Run(
            **_summary_fields(row),
            options=msgspec.json.decode(row["options"], type=RunOptions),
            cancel_requested_at=row["cancel_requested_at"],
            events=row["events"],
            schema_counts=counts,
            schemas=[_schema(one) for one in schemas],
            modules=await self._children.of(run) if of_all else UNSET,
            result=_result(await self._outcome(run)) if row["status"] == "succeeded" and not of_all else None,
            problem=await self._problem(row, counts),
            approval=await self._approval(row),
            break_glass=None
            if row["break_glass"] is None
            else msgspec.json.decode(row["break_glass"], type=BreakGlass),
        )

    async def outcome(self, run: UUID) -> Outcome:
        """The status of a run, and its outcome if it has ended.

        Raises:
            ServiceError: run_unknown.
        """
        row = await self._outcome(run)
        if row["status"] != "succeeded":
            problem = await self._problem(row, _counts_of(row))
            return Outcome(row["status"], row["has_ended"], problem=problem)
        result = await self._result_of_all(row) if row["module"] == ALL_MODULES else _result(row)
        return Outcome(row["status"], row["has_ended"], result)

    async def page(self, wanted: RunFilter, limit: int, before: int | None) -> tuple[list[RunItem], int | None]:
        """The newest of the runs ``wanted``, and the number before which the next page begins."""
        values = msgspec.structs.astuple(wanted)
        rows = await self._rows("page", before, *values, limit + 1, also=condition_of(wanted))
        following = rows[limit - 1]["number"] if len(rows) > limit else None
        return [_item(row) for row in rows[:limit]], following

    async def count(self, wanted: RunFilter, limit: int) -> tuple[int, bool]:
        """How many of the newest ``limit`` runs are ``wanted``, and whether there are older ones."""
        (row,) = await self._rows("count", *msgspec.structs.astuple(wanted), limit)
        return row["number"], row["is_capped"]

    async def schemas(
        self, run: UUID, status: str | None, limit: int, after: int | None
    ) -> tuple[str, RunSchemaList, int | None]:
        """The module of a run, its schemas in order, and the position after which the next page begins.

        Raises:
            ServiceError: run_unknown.
        """
        module: str = (await self._run(run))["module"]
        rows = await self._rows("schemas", run, status, after or 0, limit + 1, order=_IN_ORDER)
        following = rows[limit - 1]["position"] if len(rows) > limit else None
        counts = await self._counts(run)
        total = counts.total if status is None else getattr(counts, status)
        return module, RunSchemaList([_schema(row) for row in rows[:limit]], total=total), following

    async def schema_statuses(self, run: UUID) -> list[tuple[str, SchemaStatus, str | None]]:
        """Each schema of a run with its status and the detail of its problem, in order."""
        return [(row["schema"], row["status"], row["detail"]) for row in await self._rows("schema_statuses", run)]

    async def events(self, run: UUID, after: int, limit: int) -> list[EventRow]:
        """The events of a run after number ``after``."""
        rows = await self._rows("events", run, after, limit)
        return [EventRow(row["number"], row["kind"], _decoded(row["data"]) or {}, row["at"]) for row in rows]

    async def newest_event(self, run: UUID) -> tuple[int, bool]:
        """The number of the newest event, and whether the run has ended.

        Raises:
            ServiceError: run_unknown.
        """
        rows = await self._rows("newest_event", run)
        if not rows:
            raise unknown_run(run)
        return rows[0]["events"], rows[0]["has_ended"]

    async def has_ended(self, run: UUID) -> bool:
        """Whether a run has ended, or does not exist."""
        return all(row["has_ended"] for row in await self._rows("newest_event", run))

    async def undone(self, run: UUID) -> list[str]:
        """The schemas in which the run did not succeed, in order."""
        return [row["schema"] for row in await self._rows("undone", run)]

    async def _run(self, run: UUID) -> RowDict:
        rows = await self._rows("run", run)
        if not rows:
            raise unknown_run(run)
        return rows[0]

    async def _outcome(self, run: UUID) -> RowDict:
        rows = await self._rows("outcome", run, _MOST_APPLIED)
        if not rows:
            raise unknown_run(run)
        return rows[0]

    async def _approval(self, row: RowDict) -> RunApproval | None:
        if row["plan"] is None:
            return None
        demanded = msgspec.json.decode(row["approvals"], type=Approvals)
        rows = await self._rows("of", row["id"], area="run_approvals")
        return RunApproval(
            plan=row["plan"],
            required_count=row["approvals_needed"],
            require_reason=demanded.require_reason,
            approved_by=[Approval(**one) for one in rows],
        )

    async def _counts(self, run: UUID) -> SchemaCounts:
        counts = {row["status"]: row["number"] for row in await self._rows("schema_counts", run)}
        return SchemaCounts(total=sum(counts.values()), **counts)

    async def _problem(self, row: RowDict, counts: SchemaCounts) -> dict[str, Any] | None:
        """The problem of a run; if it has several schemas, the problem of the first one that failed, with the outcome
        of all."""
        problem = _decoded(row["problem"])
        if problem is None or counts.total <= 1:
            return problem
        failed = [one["schema"] for one in await self._rows("failed_schemas", row["id"], _MOST_FAILED)]
        problem["detail"] += f"\n{_of_schemas(counts, failed)}"
        return problem | {"schema_counts": msgspec.to_builtins(counts), "failed_schemas": failed}

    async def _result_of_all(self, row: RowDict) -> MigrateAllResult:
        children = await self._children.of(row["id"])
        took = (_decoded(row["result"]) or {})["total_time_ms"]
        result = all_of([child.result for child in children if child.result is not None], round(took, 1), row["id"])
        result.not_reached = [child.module for child in children if child.status == "not_reached"]
        return result

    async def _rows(self, name: str, *args: object, area: str = "run_queries", **parts: str) -> list[RowDict]:
        with without_reset():
            return await self._database.manager(SERVICE_SCHEMA).fetch_all(statement(area, name, **parts), *args)


def all_of(items: list[MigrateResult], total_time_ms: float, run: UUID | None = None) -> MigrateAllResult:
    """The results of several modules as a single one."""
    statuses = {item.status for item in items}
    status: MigrateStatus = "up_to_date"
    if "dry_run" in statuses:
        status = "dry_run"
    elif "success" in statuses:
        status = "success"
    result = MigrateAllResult(status=status, items=items, not_reached=[], total_time_ms=total_time_ms, run_id=run)
    warnings = [one for item in items if item.warnings is not UNSET for one in item.warnings]
    if warnings:
        result.warnings = warnings
    return result


def _result(row: RowDict) -> MigrateResult:
    """The result of a run of one module that succeeded, of which ``row`` is the outcome."""
    applied = msgspec.json.decode(row["applied"] or "[]", type=list[AppliedMigration])
    totals = _decoded(row["result"]) or {}
    result = MigrateResult(
        module=row["module"],
        status="success" if applied else "up_to_date",
        applied=applied,
        pending=[],
        skipped=totals["skipped"],
        total=totals["total"],
        total_time_ms=round(totals["total_time_ms"], 1),
        run_id=row["id"],
    )
    counts = _counts_of(row)
    if counts.total > 1:
        result.schema_counts = counts
    if row["renamed"] is not None:
        result.renamed = msgspec.json.decode(row["renamed"], type=list[RenamedMigration])
    return result


def _counts_of(row: RowDict) -> SchemaCounts:
    counts = _decoded(row["schema_counts"]) or {}
    return SchemaCounts(total=sum(counts.values()), **counts)


def _of_schemas(counts: SchemaCounts, failed: list[str]) -> str:
    more = counts.failed - len(failed[:_MOST_NAMED])
    named = ", ".join(failed[:_MOST_NAMED]) + (f" and {more} more" if more else "")
    parts = [
        f"{counts.succeeded} {'was' if counts.succeeded == 1 else 'were'} migrated",
        f"{counts.failed} failed{f' ({named})' if failed else ''}",
    ]
    others = {"cancelled": counts.cancelled, "not reached": counts.not_reached}
    parts += [f"{number} {'was' if number == 1 else 'were'} {what}" for what, number in others.items() if number]
    return f"Of {counts.total} schemas, {', '.join(parts)}."


def unknown_run(run: UUID) -> ServiceError:
    return ServiceError("run_unknown", f"There is no run {run}.", run_id=str(run))


def _summary_fields(row: RowDict) -> dict[str, Any]:
    made = {
        "duration_ms": duration_ms(row["started_at"], row["ended_at"]),
        "problem_code": (_decoded(row["problem"]) or {}).get("code"),
        "start_hold": None if row["hold"] is None else msgspec.json.decode(row["hold"], type=StartHold),
    }
    return {name: row[name] for name in RunSummary.__struct_fields__ if name not in made} | made


def _item(row: RowDict) -> RunItem:
    progress = row["progress"]
    return RunItem(
        **_summary_fields(row),
        detail=(_decoded(row["problem"]) or {}).get("detail"),
        schema_counts=_counts_of(row),
        schema=row["schema"],
        progress=None if progress is None else msgspec.json.decode(progress, type=Progress),
    )


def _schema(row: RowDict) -> RunSchema:
    progress = row["progress"]
    status: SchemaStatus = row["status"]
    return RunSchema(
        schema=row["schema"],
        status=status,
        attempts=row["attempts"],
        steps=msgspec.json.decode(row["steps"], type=list[AppliedMigration]),
        progress=None if progress is None else msgspec.json.decode(progress, type=Progress),
        problem=_decoded(row["problem"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _decoded(text: str | None) -> dict[str, Any] | None:
    document: dict[str, Any] | None = None if text is None else msgspec.json.decode(text)
    return document
