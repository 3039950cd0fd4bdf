"""Runs as they are shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET

from ..errors import Problem
from ..own_schema import OWN_SCHEMA
from .structs import (
    ALL_MODULES,
    AppliedMigration,
    MigrateAllResult,
    MigrateResult,
    MigrateStatus,
    Progress,
    Run,
    RunSchema,
    RunStatus,
    RunSummary,
    SchemaCounts,
    SchemaStatus,
    Wishes,
)

if TYPE_CHECKING:
    from uuid import UUID

    from pgdbm.core.manager import AsyncDatabaseManager

    from ..database import Database
    from .parts import Parts

_MOST_STEPS = 50
_MOST_APPLIED = 1000

_RUN = "SELECT * FROM {{tables.runs}} WHERE id = $1"
_PAGE = """
SELECT * FROM {{tables.runs}}
WHERE ($1::text IS NULL OR module = $1) AND ($2::text IS NULL OR status = $2) AND ($3::bigint IS NULL OR number < $3)
ORDER BY number DESC LIMIT $4
"""
_COUNTS = "SELECT status, count(*) AS number FROM {{tables.run_schemas}} WHERE run = $1 GROUP BY status"
_SCHEMAS = """
SELECT s.position, s.schema, s.status, s.attempts, s.progress, s.problem, s.started_at, s.ended_at,
       (SELECT COALESCE(jsonb_agg(jsonb_build_object('filename', t.filename, 'schema', t.schema,
                                                     'execution_time_ms', t.execution_time_ms) ORDER BY t.position),
                        '[]')
        FROM {{tables.run_steps}} t WHERE t.run = s.run AND t.schema = s.schema) AS applied
FROM {{tables.run_schemas}} s
WHERE s.run = $1 AND ($2::text IS NULL OR s.status = $2) AND s.position > $3
"""
_IN_ORDER = _SCHEMAS + "ORDER BY s.position LIMIT $4"
_URGENT_FIRST = _SCHEMAS + "ORDER BY s.status <> 'failed', s.status <> 'running', s.position LIMIT $4"
_APPLIED = """
SELECT t.filename, t.schema, t.execution_time_ms
FROM {{tables.run_steps}} t JOIN {{tables.run_schemas}} s ON s.run = t.run AND s.schema = t.schema
WHERE t.run = $1 ORDER BY s.position, t.position LIMIT $2
"""
_EVENTS = """
SELECT number, kind, data, at FROM {{tables.run_events}} WHERE run = $1 AND number > $2 ORDER BY number LIMIT $3
"""
_NEWEST = "SELECT events, ended_at IS NOT NULL AS has_ended FROM {{tables.runs}} WHERE id = $1"
_OF_KEY = "SELECT k.run, k.request FROM {{tables.run_keys}} k WHERE k.caller = $1 AND k.key = $2"
_UNDER_WAY = """
SELECT id FROM {{tables.runs}} WHERE module = $1 AND digest = $2 AND status IN ('queued', 'running')
"""
_UNDONE = """
SELECT schema FROM {{tables.run_schemas}} WHERE run = $1 AND status IN ('failed', 'cancelled', 'not_reached')
ORDER BY position
"""


class EventRow(msgspec.Struct, frozen=True):
    number: int
    kind: str
    data: dict[str, Any]
    at: datetime


class Outcome(NamedTuple):
    """Where a run is; what the call answers that waits for it, once it has succeeded, or once it has failed."""

    status: RunStatus
    result: MigrateResult | MigrateAllResult | None
    problem: dict[str, Any] | None


class Reader:
    def __init__(self, database: Database, parts: Parts) -> None:
        self._database = database
        self._parts = parts

    @property
    def _db(self) -> AsyncDatabaseManager:
        return self._database.manager(OWN_SCHEMA)

    async def run(self, run: UUID) -> Run:
        """One run, with what is most worth seeing of it.

        Raises:
            Problem: run_unknown.
        """
        row = await self._row(run)
        of_all = row["module"] == ALL_MODULES
        counts = await self._counts(run)
        steps = await self._db.fetch_all(_URGENT_FIRST, run, None, 0, _MOST_STEPS)
        return Run(
            **_summary_fields(row),
            wishes=msgspec.json.decode(row["wishes"], type=Wishes),
            cancel_requested_at=row["cancel_requested_at"],
            events=row["events"],
            schemas=counts,
            steps=[_schema(step) for step in steps],
            modules=await self._parts.of(run) if of_all else UNSET,
            result=await self._result(row, counts) if row["status"] == "succeeded" and not of_all else None,
            problem=_decoded(row["problem"]),
        )

    async def outcome(self, run: UUID) -> Outcome:
        """How the run has ended, or that it has not."""
        row = await self._row(run)
        if row["status"] != "succeeded":
            return Outcome(row["status"], None, _decoded(row["problem"]))
        if row["module"] == ALL_MODULES:
            return Outcome(row["status"], await self._result_of_all(row), None)
        return Outcome(row["status"], await self._result(row, await self._counts(run)), None)

    async def page(
        self, module: str | None, status: str | None, limit: int, before: int | None
    ) -> tuple[list[RunSummary], int | None]:
        """The newest runs, and the number that the next page begins before."""
        rows = await self._db.fetch_all(_PAGE, module, status, before, limit + 1)
        following = rows[limit - 1]["number"] if len(rows) > limit else None
        return [RunSummary(**_summary_fields(row)) for row in rows[:limit]], following

    async def schemas(
        self, run: UUID, status: str | None, limit: int, after: int | None
    ) -> tuple[list[RunSchema], int | None]:
        """The schemas of a run in their order, and the position that the next page begins after."""
        await self._row(run)
        rows = await self._db.fetch_all(_IN_ORDER, run, status, after or 0, limit + 1)
        following = rows[limit - 1]["position"] if len(rows) > limit else None
        return [_schema(row) for row in rows[:limit]], following

    async def events(self, run: UUID, after: int, limit: int) -> list[EventRow]:
        rows = await self._db.fetch_all(_EVENTS, run, after, limit)
        return [EventRow(row["number"], row["kind"], _decoded(row["data"]) or {}, row["at"]) for row in rows]

    async def newest_event(self, run: UUID) -> tuple[int, bool]:
        """The number of the newest event, and whether the run has ended.

        Raises:
            Problem: run_unknown.
        """
        row = await self._db.fetch_one(_NEWEST, run)
        if row is None:
            raise unknown_run(run)
        return row["events"], row["has_ended"]

    async def of_key(self, caller: str, key: str) -> tuple[UUID, str] | None:
        """The run that an Idempotency-Key led to, and the digest of the request that it came with."""
        row = await self._db.fetch_one(_OF_KEY, caller, key)
        return None if row is None else (row["run"], row["request"])

    async def under_way(self, module: str, digest: str) -> UUID | None:
        run: UUID | None = await self._db.fetch_value(_UNDER_WAY, module, digest)
        return run

    async def undone(self, run: UUID) -> list[str]:
        """The schemas in which the run did not succeed, in their order."""
        return [row["schema"] for row in await self._db.fetch_all(_UNDONE, run)]

    async def _row(self, run: UUID) -> dict[str, Any]:
        row = await self._db.fetch_one(_RUN, run)
        if row is None:
            raise unknown_run(run)
        return row

    async def _counts(self, run: UUID) -> SchemaCounts:
        counts = {row["status"]: row["number"] for row in await self._db.fetch_all(_COUNTS, run)}
        return SchemaCounts(total=sum(counts.values()), **counts)

    async def _result(self, row: dict[str, Any], counts: SchemaCounts) -> MigrateResult:
        applied = [AppliedMigration(**one) for one in await self._db.fetch_all(_APPLIED, row["id"], _MOST_APPLIED)]
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
        if counts.total > 1:
            result.schemas = counts
        return result

    async def _result_of_all(self, row: dict[str, Any]) -> MigrateAllResult:
        items = [part.result for part in await self._parts.of(row["id"]) if part.result is not None]
        took = (_decoded(row["result"]) or {})["total_time_ms"]
        return all_of(items, round(took, 1), row["id"])


def all_of(items: list[MigrateResult], total_time_ms: float, run: UUID | None = None) -> MigrateAllResult:
    """What came of all modules together."""
    statuses = {item.status for item in items}
    status: MigrateStatus = "up_to_date"
    if "dry_run" in statuses:
        status = "dry_run"
    elif "success" in statuses:
        status = "success"
    return MigrateAllResult(status=status, items=items, not_reached=[], total_time_ms=total_time_ms, run_id=run)


def unknown_run(run: UUID) -> Problem:
    return Problem("run_unknown", f"There is no run {run}.", run_id=str(run))


def _summary_fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in RunSummary.__struct_fields__}


def _schema(row: dict[str, Any]) -> RunSchema:
    progress = row["progress"]
    status: SchemaStatus = row["status"]
    return RunSchema(
        schema=row["schema"],
        status=status,
        attempts=row["attempts"],
        applied=msgspec.json.decode(row["applied"], type=list[AppliedMigration]),
        progress=None if progress is None else msgspec.json.decode(progress, type=Progress),
        problem=_decoded(row["problem"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
    )


def _decoded(text: str | None) -> dict[str, Any] | None:
    document: dict[str, Any] | None = None if text is None else msgspec.json.decode(text)
    return document
