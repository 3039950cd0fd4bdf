"""The newest runs of many modules, the runs in progress, and the replicas: the data of an overview."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ..api.overview import OverviewRun, Replica
from ..api.runs import Progress, StartHold
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from pgdbm.core.connection import RowDict
    from pgdbm.core.manager import AsyncDatabaseManager

    from ..api.modules import ModuleDetail
    from ..database.pool import Database


_LOST_FOR_S = 3600.0


class RecentRuns:
    """Reads only. ``stale_s``: a replica without a heartbeat for this long is considered dead."""

    def __init__(self, database: Database, stale_s: float) -> None:
        self._database = database
        self._stale_s = stale_s

    @property
    def _db(self) -> AsyncDatabaseManager:
        return self._database.manager(SERVICE_SCHEMA)

    async def of_modules(self, modules: Sequence[str], limit: int) -> dict[str, list[OverviewRun]]:
        """The newest ``limit`` runs of each of ``modules``, newest first."""
        found: dict[str, list[OverviewRun]] = defaultdict(list)
        for row in await self._db.fetch_all(statement("recent_runs", "recent"), list(modules), limit):
            found[row["module"]].append(_run(row))
        return found

    async def active(self) -> list[OverviewRun]:
        """The runs that are queued or running, oldest first, at most a hundred."""
        runs = []
        for row in await self._db.fetch_all(statement("recent_runs", "active")):
            run = _run(row)
            run.schema_count, run.ended_schema_count, run.schema = row["total"], row["ended"], row["schema"]
            if row["progress"] is not None:
                run.progress = msgspec.json.decode(row["progress"], type=Progress)
            runs.append(run)
        return runs

    async def active_of(self, module: ModuleDetail) -> OverviewRun | None:
        """The run in progress of ``module``, with its progress; None if there is none."""
        if module.active_run is None:
            return None
        return next((run for run in await self.active() if run.id == module.active_run), None)

    async def replicas(self) -> list[Replica]:
        """The replicas that are alive, oldest first."""
        return await self._replicas(None)

    async def lost_replicas(self) -> list[Replica]:
        """The replicas that stopped sending heartbeats within the last hour, oldest first: they were not shut down."""
        return await self._replicas(_LOST_FOR_S)

    async def _replicas(self, lost_for_s: float | None) -> list[Replica]:
        rows = await self._db.fetch_all(statement("recent_runs", "replicas"), self._stale_s, lost_for_s)
        return [Replica(**row) for row in rows]

    async def backends(self) -> list[int]:
        """The process ids of the database's backends that are migrating, of every replica."""
        return [row["backend_pid"] for row in await self._db.fetch_all(statement("recent_runs", "backends"))]

    async def changed(self, runs: Iterable[UUID]) -> list[OverviewRun]:
        """The current state of ``runs``, without those that were pruned."""
        rows = await self._db.fetch_all(statement("recent_runs", "changed"), [str(run) for run in runs])
        return [_run(row) for row in rows]

    async def changed_since(self, then: datetime) -> list[OverviewRun]:
        """The runs that started, changed or ended after ``then``, and those in progress; at most a thousand."""
        return [_run(row) for row in await self._db.fetch_all(statement("recent_runs", "changed_since"), then)]


def _run(row: RowDict) -> OverviewRun:
    problem = {} if row["problem"] is None else msgspec.json.decode(row["problem"], type=dict[str, Any])
    return OverviewRun(
        id=row["id"],
        module=row["module"],
        status=row["status"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        duration_ms=duration_ms(row["started_at"], row["ended_at"]),
        problem_code=problem.get("code"),
        detail=problem.get("detail"),
        start_hold=None if row["hold"] is None else msgspec.json.decode(row["hold"], type=StartHold),
    )


def duration_ms(started: datetime | None, ended: datetime | None) -> float | None:
    """Milliseconds from the start of a run to its end, or to now; None before it started."""
    if started is None:
        return None
    return round(max(((ended or datetime.now(UTC)) - started).total_seconds() * 1000, 0.0), 1)
