"""What the page of a run shows, assembled from runs and activity."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ..api.runs import ALL_MODULES, RunEvent
from ..errors import ServiceError, without_values
from ..features.activity.queries import blocking_tree, still_connected
from .approvals import plan_of
from .live import Part, Parts
from .outcome import NOT_APPLIED, actions_after, decision_of, outcome_of
from .rendering import render
from .statements import statements_of
from .timeline import seconds_left, steps

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from markupsafe import Markup

    from ..api.activity import Backend
    from ..api.modules import MigrationFile
    from ..api.plans import Plan
    from ..api.runs import Run
    from ..database.pool import Database
    from ..features.activity.queries import ConnectedBackend
    from ..features.modules.views import ModuleViews
    from ..features.operations.reads import OperationQueries
    from ..runs.service import RunService
    from .statements import StatementText
    from .timeline import Step
    from .viewer import Viewer

# The newest ones. For a run over several schemas, they show only what the last wait was for.
_MOST_EVENTS, _MOST_EVENTS_OF_MANY = 5000, 200
_UNDONE = ("failed", "cancelled", "not_reached")
PARTS = ("head", "approval", "failure", "work", "side")


class RunPage:
    def __init__(
        self, database: Database, runs: RunService, views: ModuleViews, operation_queries: OperationQueries
    ) -> None:
        self._database = database
        self._runs = runs
        self._views = views
        self._operation_queries = operation_queries

    async def context(self, run_id: UUID, viewer: Viewer) -> dict[str, Any]:
        """The variables of ``run_live.html``.

        Raises:
            ServiceError: run_unknown.
        """
        run, events = await self._database.with_timeout(self._read(run_id))
        names = [child.module for child in run.modules or ()] if run.module == ALL_MODULES else [run.module]
        may_migrate = viewer.may_migrate_each(names)
        if not may_migrate:
            run.problem = without_values(run.problem)
            for one in run.schemas:
                one.problem = without_values(one.problem)
        now = datetime.now(UTC)
        undone = sum(getattr(run.schema_counts, status) for status in _UNDONE)
        first = run.started_at or run.created_at
        file = await self._file_at_work(run)
        texts = statements_of(file) if file is not None else ()
        took = None if run.started_at is None else ((run.ended_at or now) - run.started_at).total_seconds()
        states = await self._states(run)
        shown = steps(events, first, _unreached(run, states)) if run.schema_counts.total <= 1 else []
        return {
            "run": run,
            "problem": defaultdict(lambda: None, run.problem) if run.problem else None,
            "viewer": viewer,
            "took": took,
            "until": ((run.ended_at or now) - first).total_seconds(),
            "steps": shown,
            "statement_texts": {one.number: one for one in texts},
            "file": file,
            "at_work": _at_work(run, texts),
            "step_count": sum(len(schema.steps) for schema in run.schemas),
            "undone": undone,
            "left": _left(run, events, took),
            "may_migrate": may_migrate,
            "blockers": await self._blockers(run),
            "own_pids": _own_pids(run),
            "blocked_by": await self._blocked_by(run, events),
            "attempts": _attempts(shown),
            "marked_sql": _marked(file, run.problem or {}) if run.ended_at is not None else None,
            "outcome": outcome_of(run, file),
            "actions": actions_after(run, undone, states) if may_migrate else [],
            "replica": await self._replica(run),
            "plan": await self._plan(run),
            "decides": decision_of(run, viewer),
        }

    async def parts(self, run_id: UUID, viewer: Viewer) -> Parts | None:
        """The parts of the page that change; None once the run has ended."""
        context = await self.context(run_id, viewer)
        return None if context["run"].ended_at is not None else parts_of(context)

    async def _read(self, run_id: UUID) -> tuple[Run, list[RunEvent]]:
        run = await self._runs.queries.run(run_id)
        most = _MOST_EVENTS if run.schema_counts.total <= 1 else _MOST_EVENTS_OF_MANY
        newest, _ = await self._runs.queries.newest_event(run_id)
        rows = await self._runs.queries.events(run_id, max(newest - most, 0), most)
        fields = ({"number": row.number, "kind": row.kind, "at": row.at} | row.data for row in rows)
        return run, [msgspec.convert(one, RunEvent) for one in fields]

    async def _blockers(self, run: Run) -> list[Backend]:
        """The trees of sessions with a session that this run and others wait for."""
        waiting = [schema.progress.waiting_for for schema in run.schemas if schema.progress is not None]
        pids = {one.get("pid") for blockers in waiting for one in blockers or ()}
        if not pids or run.ended_at is not None:
            return []
        trees = await self._database.with_timeout(blocking_tree(self._database.manager()))
        return [tree for tree in trees if _pids(tree) & pids]

    async def _blocked_by(self, run: Run, events: list[RunEvent]) -> list[ConnectedBackend]:
        """For a run that did not get a lock: the sessions that it last waited for and that are still connected."""
        if run.status != "failed" or (run.problem or {}).get("code") != "lock_timeout":
            return []
        last = next((event.waiting_for for event in reversed(events) if event.waiting_for), None)
        if last is None:
            return []
        return await self._database.with_timeout(still_connected(self._database.manager(), last))

    async def _file_at_work(self, run: Run) -> MigrationFile | None:
        """The file that failed, or that is running; None if there is none, or it was removed."""
        problem, schema = run.problem or {}, run.schemas[0] if run.schemas else None
        filename = problem.get("filename")
        if run.ended_at is None and schema is not None and schema.progress is not None:
            filename = schema.progress.filename
        if not filename or run.status == "succeeded":
            return None
        name = problem.get("schema") or (None if schema is None else schema.schema)
        try:
            return await self._views.migration_file(problem.get("module") or run.module, filename, name)
        except ServiceError:
            return None

    async def _states(self, run: Run) -> dict[str, str] | None:
        """The states of the module's files now, by name; None for a run that succeeded, or in several schemas."""
        if run.module == ALL_MODULES or run.status == "succeeded" or len(run.schemas) != 1:
            return None
        try:
            found, _ = await self._views.migrations(run.module, run.schemas[0].schema)
        except ServiceError:
            return None
        return {one.filename: one.state for one in found.items}

    async def _plan(self, run: Run) -> Plan | None:
        """What a run that waits for approvals would apply."""
        if run.status != "waiting_for_approval":
            return None
        try:
            return await plan_of(self._operation_queries, run)
        except ServiceError:
            return None

    async def _replica(self, run: Run) -> str | None:
        if run.replica is None:
            return None
        for replica in await self._database.with_timeout(self._runs.recent.replicas()):
            if replica.id == run.replica:
                return f"{replica.host}, pid {replica.pid}"
        return f"{run.replica} (gone)"


def parts_of(context: dict[str, Any]) -> Parts:
    """The parts of the page by id."""
    found = {}
    for name in PARTS:
        html = render(f"run_{name}.html", **context)
        found[f"run-{name}"] = Part(html, html)
    return found


def _unreached(run: Run, states: Mapping[str, str] | None) -> list[tuple[str, str]]:
    """The schema and the name of each file that is not applied."""
    return [(run.schemas[0].schema, name) for name, state in (states or {}).items() if state in NOT_APPLIED]


def _pids(tree: Backend) -> set[int | None]:
    found: set[int | None] = {tree.pid}
    for below in tree.blocks:
        found |= _pids(below)
    return found


def _own_pids(run: Run) -> set[int]:
    """The process ids of the backends of the run that wait for another session."""
    waiting = [schema.progress.waiting_for for schema in run.schemas if schema.progress is not None]
    return {one["blocks"] for blockers in waiting for one in blockers or () if one.get("depth") == 1}


def _attempts(shown: list[Step]) -> int:
    return max((step.attempts for step in shown), default=1)


def _at_work(run: Run, texts: tuple[StatementText, ...]) -> StatementText | None:
    """The running statement."""
    progress = run.schemas[0].progress if run.schemas else None
    if run.ended_at is not None or progress is None:
        return None
    return next((one for one in texts if one.number == progress.statement), None)


def _left(run: Run, events: list[RunEvent], took: float | None) -> float | None:
    """The seconds that are left, estimated from the schemas that are done, or from the progress that the server
    reports."""
    if run.status != "running":
        return None
    counts = run.schema_counts
    if counts.total > 1:
        return counts.queued * took / counts.succeeded if took and counts.succeeded else None
    progress = run.schemas[0].progress if run.schemas else None
    if progress is not None and progress.seconds_left is not None:
        return progress.seconds_left
    return seconds_left(events)


def _marked(file: MigrationFile | None, problem: dict[str, Any]) -> Markup | None:
    """The lines around the failure, with a caret under its column."""
    line = problem.get("line")
    if file is None or not line:
        return None
    from .highlight import sql_lines

    begin = max(line - 6, 0)
    shown = "\n".join(file.sql.rstrip().split("\n")[begin : line + 5])
    return sql_lines(shown, first=begin + 1, line=line, column=problem.get("column"))
