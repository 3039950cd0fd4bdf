"""Assembles the overview from what modules and runs report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..api.activity import PoolState
from ..api.overview import Attention, Overview, OverviewModule, ReplicaList
from ..registry.single_flight import SingleFlight
from .module_state import ATTENTION, attention_of
from .wording import count

if TYPE_CHECKING:
    from ..api.modules import ModuleDetail
    from ..api.overview import AttentionKind, OverviewRun
    from ..api.runs import Progress
    from ..database.pool import Database
    from ..database.slots import Slots
    from ..features.modules.views import ModuleViews
    from ..runs.freezes import Freezes
    from ..runs.recent import RecentRuns

_RUNS_OF_EACH = 8
_SERVER_VERSION = "SELECT pg_catalog.current_setting('server_version')"
_URGENCY: tuple[AttentionKind, ...] = (
    "failed",
    "unknown",
    "partial",
    "blocked",
    "waiting_for_approval",
    "changed",
    "invalid",
    "invalid_index",
    "empty",
    "behind",
)


class OverviewReader:
    """It only reads; concurrent callers share one read."""

    def __init__(
        self, database: Database, slots: Slots, views: ModuleViews, recent: RecentRuns, freezes: Freezes
    ) -> None:
        self._database = database
        self._slots = slots
        self._views = views
        self._recent = recent
        self._freezes = freezes
        self._server_version: str | None = None
        self.read = SingleFlight(self._read)

    async def replicas(self) -> ReplicaList:
        alive = await self._database.with_timeout(self._recent.replicas())
        return ReplicaList(alive, lost_replicas=await self._database.with_timeout(self._recent.lost_replicas()))

    async def _read(self) -> Overview:
        return await self._database.with_timeout(self._put_together())

    async def _put_together(self) -> Overview:
        details = await self._views.details()
        recent = await self._recent.of_modules([detail.name for detail in details], _RUNS_OF_EACH)
        running = await self._recent.active()
        if self._server_version is None:
            self._server_version = await self._database.manager().fetch_value(_SERVER_VERSION)
        return Overview(
            attention=_attention(details, recent, running),
            running=running,
            modules=[_module(detail, recent.get(detail.name, [])) for detail in details],
            replica_count=len(await self._recent.replicas()),
            lost_replicas=await self._recent.lost_replicas(),
            freezes=await self._freezes.in_force(),
            pool=self._pool(),
            server_version=self._server_version,
        )

    def _pool(self) -> PoolState:
        pool = self._database.pool_numbers()
        return PoolState(
            size=pool.size,
            free=pool.size - pool.used,
            used=pool.used,
            max=pool.max,
            migrating=self._slots.migrating,
            migrating_max=self._slots.limit,
            waiting=self._slots.waiting,
        )


def _module(detail: ModuleDetail, runs: list[OverviewRun]) -> OverviewModule:
    shared = {name: getattr(detail, name) for name in detail.__struct_fields__}
    fields = {name: shared[name] for name in OverviewModule.__struct_fields__ if name in shared}
    return OverviewModule(**fields, runs=runs)


def _attention(
    details: list[ModuleDetail], recent: dict[str, list[OverviewRun]], running: list[OverviewRun]
) -> list[Attention]:
    """What requires a decision, most urgent first."""
    found = [_blocked(run) for run in running if run.progress is not None and _waits(run.progress)]
    found += [_waiting(run) for run in running if run.status == "waiting_for_approval"]
    busy = {run.module for run in running}
    for detail in details:
        if detail.name in busy:
            continue
        newest = next(iter(recent.get(detail.name, ())), None)
        kind = attention_of(detail)
        if kind is None:
            kind = "invalid_index" if detail.invalid_indexes else "empty" if _is_empty(detail) else None
        if kind is None:
            kind = "behind" if 0 < detail.states.get("pending", 0) < detail.schema_count else None
        if kind is not None:
            found.append(_of_module(kind, detail, newest))
    return sorted(found, key=lambda one: (_URGENCY.index(one.kind), one.module))


def _is_empty(detail: ModuleDetail) -> bool:
    counts = (detail.applied, detail.pending, detail.changed, detail.missing)
    return detail.problem is None and detail.schema_count > 0 and not any(counts)


def _waits(progress: Progress) -> bool:
    return bool(progress.waiting_for or progress.retrying)


def _blocked(run: OverviewRun) -> Attention:
    assert run.progress is not None
    blockers = run.progress.waiting_for or []
    waiting = {one.get("blocks") for one in blockers}
    root = next((one for one in blockers if one.get("pid") not in waiting), blockers[0] if blockers else None)
    if root is None:
        detail = f"{run.progress.filename} gave up waiting for a lock and is being retried"
    else:
        name = root.get("application_name") or root.get("user") or "a session"
        detail = f"{run.progress.filename} waits for a lock that {name} (pid {root.get('pid')}) holds"
    return Attention(kind="blocked", module=run.module, detail=detail, run_id=run.id, since=run.started_at)


def _waiting(run: OverviewRun) -> Attention:
    detail = f"waits for approval; requested by {run.created_by}"
    return Attention(kind="waiting_for_approval", module=run.module, detail=detail, run_id=run.id, since=run.created_at)


def _of_module(kind: AttentionKind, detail: ModuleDetail, newest: OverviewRun | None) -> Attention:
    of_run = newest is not None and newest.status == "failed" and kind in ("failed", "partial", "unknown")
    if of_run and newest is not None and newest.detail:
        text = newest.detail.splitlines()[0]
        if detail.schema_count > 1:
            text = f"{_states_of(detail)}: {text}"
    elif kind == "invalid_index":
        names = ", ".join(f"{one.schema}.{one.name}" for one in detail.invalid_indexes[:3])
        text = f"has an INVALID index: {names}. Drop it, or rebuild it with REINDEX INDEX CONCURRENTLY"
    elif kind == "empty":
        text = "has no migration files (*.sql): there is nothing to apply"
    elif detail.problem is not None:
        text = detail.problem.detail
    elif detail.schema_count > 1:
        text = _states_of(detail)
    elif kind == "changed":
        one = detail.changed == 1
        text = f"has {count(detail.changed, 'file')} that {'was' if one else 'were'} changed after "
        text += "it was applied" if one else "they were applied"
    else:
        text = f"is {detail.state.replace('_', ' ')}"
    return Attention(
        kind=kind,
        module=detail.name,
        detail=text,
        run_id=newest.id if of_run and newest is not None else None,
        since=newest.ended_at if of_run and newest is not None else None,
    )


def _states_of(detail: ModuleDetail) -> str:
    """``1 failed, 11 pending, of 10,000 schemas``."""
    urgent = sorted(detail.states.items(), key=lambda one: one[0] not in ATTENTION)
    parts = (f"{number:,} {state.replace('_', ' ')}" for state, number in urgent if state != "up_to_date")
    return f"{', '.join(parts)}, of {detail.schema_count:,} schemas"
