"""What runs have written down that others show: which run a row of a history comes from, and a module's last run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .own_schema import OWN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.migrations import HistoryRow

    from .database import Database

_MOST_KNOWN = 20_000
# A run says what it has applied when it is done with a schema: of an older row nothing more will be known.
_SETTLED = timedelta(days=1)
_RUNS = """
SELECT DISTINCT ON (filename) filename, run
FROM {{tables.run_steps}}
WHERE module = $1 AND schema = $2 AND filename = ANY ($3::text[])
ORDER BY filename, applied_at DESC
"""
_LAST_RUNS = """
SELECT given.module, last.id
FROM unnest($1::text[]) AS given (module),
     LATERAL (SELECT r.id FROM {{tables.runs}} r WHERE r.module = given.module ORDER BY r.number DESC LIMIT 1) AS last
"""


class RunRecords:
    """Remembers what it has read of the history: rows of it do not change, and are looked at often."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, str, int], tuple[datetime, str | None]] = {}

    async def runs_of(self, module: str, schema: str, rows: Sequence[HistoryRow]) -> dict[int, str | None]:
        """The run by the id of a history row of ``module`` in ``schema``; None, or missing, where no run applied it."""
        found: dict[int, str | None] = {}
        unknown: list[HistoryRow] = []
        for row in rows:
            # A row of another time is another row: an id comes again where the table was made anew.
            at, run = self._known.get((module, schema, row.id), (None, None))
            if at == row.applied_at:
                found[row.id] = run
            else:
                unknown.append(row)
        if unknown:
            names = [row.filename for row in unknown]
            answer = await self._database.manager(OWN_SCHEMA).fetch_all(_RUNS, module, schema, names)
            runs = {one["filename"]: str(one["run"]) for one in answer}
            for row in unknown:
                found[row.id] = run = runs.get(row.filename)
                self._remember((module, schema, row.id), row.applied_at, run)
        return found

    async def last_runs(self, modules: Sequence[str]) -> dict[str, str]:
        """The newest run of each of ``modules`` that has had one."""
        rows = await self._database.manager(OWN_SCHEMA).fetch_all(_LAST_RUNS, list(modules))
        return {row["module"]: str(row["id"]) for row in rows}

    def _remember(self, key: tuple[str, str, int], at: datetime, run: str | None) -> None:
        if run is None and datetime.now(UTC) - at < _SETTLED:
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = (at, run)
