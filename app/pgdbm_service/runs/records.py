"""Run data for other packages: the run that applied a file, a module's last run, and numbers for metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from pgdbm.core.lru import LRUCache
from pgdbm.core.pool import without_reset

from ..database.rows import reading_rows
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from pgdbm.core.connection import RowDict
    from pgdbm.migrations import HistoryRow

    from ..api.runs import RunStatus
    from ..database.pool import Database

_MOST_HISTORIES, _MOST_ROWS = 100, 1000
# A run records what it applied when it is done with a schema. An older row without a run will never get one.
_SETTLED = timedelta(days=1)


class LastRun(NamedTuple):
    """A module's newest run, and the oldest run that has not ended, with its status."""

    id: str
    status: RunStatus
    created_at: datetime
    active: UUID | None
    active_status: RunStatus | None


class RunRecords:
    """Caches the runs of history rows, which do not change and are read often."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # By module and schema; then by row, with its time and its run.
        self._known: LRUCache[tuple[str, str], dict[int, tuple[datetime, str | None]]] = LRUCache(_MOST_HISTORIES)

    async def runs_of(self, module: str, schema: str, rows: Sequence[HistoryRow]) -> list[str | None]:
        """The run that applied each of the history ``rows`` of ``module`` in ``schema``; None if no run did."""
        known = self._known.get((module, schema))
        if known is None or len(known) > _MOST_ROWS:
            known = self._known.put((module, schema), {})
        # The same id with a different time is a different row: the table was dropped and recreated.
        found = [one[1] for row in rows if (one := known.get(row.id)) is not None and one[0] == row.applied_at]
        if len(found) == len(rows):
            return found
        answer = await self._rows("runs_of_files", module, schema, [row.filename for row in rows])
        with reading_rows():
            runs = {one["filename"]: str(one["run"]) for one in answer}
        settled = datetime.now(UTC) - _SETTLED
        for row in rows:
            run = runs.get(row.filename)
            if run is not None or row.applied_at <= settled:
                known[row.id] = (row.applied_at, run)
        return [runs.get(row.filename) for row in rows]

    async def last_runs(self, modules: Sequence[str]) -> dict[str, LastRun]:
        """The newest run of each of ``modules`` that has one."""
        rows = await self._rows("last_runs", list(modules))
        return {
            row["module"]: LastRun(
                str(row["id"]), row["status"], row["created_at"], row["active"], row["active_status"]
            )
            for row in rows
        }

    async def activity(self) -> Mapping[str, tuple[float, int, int, int]]:
        """By module, for its runs that have not ended: seconds without an event, the number of waiting schemas, and the
        numbers of runs that wait for approvals and of held runs.
        """
        return {
            row["module"]: (row["quiet_s"], row["blocked"], row["waiting_for_approval"], row["held"])
            for row in await self._rows("activity")
        }

    async def is_waiting(self, run: UUID) -> bool:
        """Whether any schema of ``run`` waits for a lock or another runner."""
        (row,) = await self._rows("is_waiting", run)
        return bool(row["is_waiting"])

    async def is_migrating(self, module: str) -> bool:
        """Whether a run of ``module`` is in progress."""
        (row,) = await self._rows("is_migrating", module)
        return bool(row["is_migrating"])

    async def replicas(self) -> int:
        """The number of replicas that are alive."""
        rows = await self._rows("count", area="replicas")
        count: int = rows[0]["count"]
        return count

    async def _rows(self, name: str, *args: object, area: str = "run_queries") -> list[RowDict]:
        with without_reset():
            return await self._database.manager(SERVICE_SCHEMA).fetch_all(statement(area, name), *args)
