"""The state of each migration of a module, from its files, its history and its journal. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, get_args

from ..results import MODULE_STATES, State
from ..sources.names import has_version, order_of, version_of
from .plan import in_background, newest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ..results import HistoryRow, JournalEvent, ModuleState, OutOfOrder
    from ..sources.migration import Migration

# The last events of a backfill that has started and not ended.
_IN_PROGRESS = frozenset(("started", "retried", "applied", "paused", "resumed", "limited"))


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A migration and its state. ``checksum`` is that of the file, or the recorded one if there is no file.

    ``in_background``: it is pending, and is a backfill in the background or requires one, which ``waits_for`` names.
    """

    filename: str
    version: str
    state: State
    checksum: str
    recorded_checksum: str | None
    transactional: bool
    applied_at: datetime | None
    applied_by: str | None
    execution_time_ms: int | None
    waits_for: str | None = None
    in_background: bool = False


@dataclass(frozen=True)
class ModuleStatus:
    """A module in one schema: its migrations in the order in which they are applied."""

    module: str
    schema: str
    migrations: tuple[MigrationStatus, ...]

    @cached_property
    def counts(self) -> dict[State, int]:
        """The number of migrations in each state."""
        counts: dict[State, int] = dict.fromkeys(get_args(State), 0)
        for migration in self.migrations:
            counts[migration.state] += 1
        return counts

    @property
    def applied(self) -> int:
        """The number of applied migrations whose files are unchanged."""
        return self.counts["applied"] + self.counts["baseline"]

    @property
    def pending(self) -> int:
        """The number of migrations that are not applied completely."""
        states: tuple[State, ...] = ("pending", "out_of_order", "failed", "partial", "backfilling", "unknown")
        return sum(self.counts[state] for state in states)

    @property
    def version(self) -> str | None:
        """The newest applied version."""
        for migration in reversed(self.migrations):
            if migration.applied_at is not None:
                return migration.version
        return None

    @property
    def state(self) -> ModuleState:
        """The most urgent state of its migrations; those that wait for a backfill do not count."""
        present: set[str] = {one.state for one in self.migrations if one.waits_for is None or one.state != "pending"}
        for state in MODULE_STATES:
            if state in present:
                return state
        return "up_to_date"


def statuses(
    migrations: Sequence[Migration],
    rows: Iterable[HistoryRow],
    out_of_order: OutOfOrder = "allow",
    events: Mapping[str, JournalEvent] | None = None,
) -> tuple[MigrationStatus, ...]:
    """The state of every migration that is in the files or in the history, in the order of migrations.

    ``events`` has the last event of each file in the journal.
    """
    events = events or {}
    by_name = {row.filename: row for row in rows}
    newest = newest_of(filter(has_version, by_name))
    waiting = in_background([one for one in migrations if one.filename not in by_name])
    found: list[MigrationStatus] = []
    for migration in migrations:
        row = by_name.pop(migration.filename, None)
        is_late = newest is not None and order_of(migration.filename) < order_of(newest)
        state: State
        if row is not None:
            if not migration.matches(row.checksum):
                state = "pending" if migration.is_repeatable else "changed"
            else:
                state = "baseline" if events.get(migration.filename) == "baselined" else "applied"
        elif migration.filename in waiting and is_late and migration.is_background:
            state = _unfinished(migration, events.get(migration.filename, "started"))
        elif out_of_order == "reject" and is_late and migration.filename not in waiting:
            state = "out_of_order"
        else:
            state = _unfinished(migration, events.get(migration.filename))
        found.append(_status(migration.filename, state, migration, row, waiting))
    newest_file = order_of(migrations[-1].filename) if migrations else None
    for row in by_name.values():
        ahead = newest_file is not None and order_of(row.filename) > newest_file
        found.append(_status(row.filename, "ahead" if ahead else "missing", None, row, {}))
    return tuple(sorted(found, key=lambda status: order_of(status.filename)))


def _unfinished(migration: Migration, event: JournalEvent | None) -> State:
    if event == "failed":
        return "partial" if migration.runs_without_transaction else "failed"
    if event in _IN_PROGRESS and migration.is_backfill:
        # The position of a backfill is always known.
        return "backfilling"
    if event == "started":
        return "unknown"
    return "partial" if event == "applied" else "pending"


def _status(
    filename: str, state: State, migration: Migration | None, row: HistoryRow | None, waiting: Mapping[str, str | None]
) -> MigrationStatus:
    return MigrationStatus(
        filename=filename,
        version=version_of(filename),
        state=state,
        checksum=migration.checksum if migration else row.checksum if row else "",
        recorded_checksum=row.checksum if row else None,
        transactional=not (migration and migration.runs_without_transaction),
        applied_at=row.applied_at if row else None,
        applied_by=row.applied_by if row else None,
        execution_time_ms=row.execution_time_ms if row else None,
        waits_for=waiting.get(filename),
        in_background=filename in waiting,
    )
