"""What the migration engine answers with: plain data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from datetime import datetime

    from .inspection import Finding, StatementInspection

State = Literal[
    "pending", "applied", "baseline", "changed", "missing", "ahead", "out_of_order", "failed", "partial", "unknown"
]
"""Where a migration stands.

``changed``: applied, and its file is another now. ``missing``: applied, and its file is gone; ``ahead``: the same, and
newer than every file, as an older release of an application sees it. ``out_of_order``: pending below the newest that
is applied, where that is refused. ``failed``: pending, and the last attempt failed. ``partial``: stopped inside a file
without a transaction, whose next run goes on there; ``unknown``: the runner died under a statement of it.
``baseline``: taken for applied where the history begins.
"""
ModuleState = Literal[
    "unknown", "partial", "failed", "changed", "out_of_order", "pending", "missing", "ahead", "up_to_date"
]
OutOfOrder = Literal["allow", "reject"]


@dataclass(frozen=True, slots=True)
class Applied:
    """One migration that a call applied. ``execution_time_ms`` is measured by the server."""

    filename: str
    execution_time_ms: int


@dataclass(frozen=True, slots=True)
class ApplyResult:
    """What a call of apply did. ``skipped`` were applied before; ``pending`` is filled on a dry run only."""

    status: Literal["success", "up_to_date", "dry_run"]
    applied: tuple[Applied, ...]
    skipped: tuple[str, ...]
    pending: tuple[str, ...]
    total: int
    total_time_ms: float


@dataclass(frozen=True, slots=True)
class PlannedMigration:
    """A pending migration as it would run: its statements with the locks they take, and what is risky about it.

    ``sql`` has the text of each statement, as it would be sent.
    """

    filename: str
    version: str
    checksum: str
    transactional: bool
    sql: tuple[str, ...]
    statements: tuple[StatementInspection, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What apply would do now. ``digest`` changes when anything of it does."""

    module: str
    schema: str
    pending: tuple[PlannedMigration, ...]
    skipped: tuple[str, ...]

    @property
    def digest(self) -> str:
        """``sha256:`` and the hash of module, schema and the pending files with their contents."""
        parts = [self.module, self.schema, *(f"{one.filename}\n{one.checksum}" for one in self.pending)]
        return "sha256:" + hashlib.sha256("\n\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Repair:
    """An applied migration whose content has changed. ``diff`` is None where the former content is not known."""

    filename: str
    recorded: str
    current: str
    diff: str | None = None


class HistoryRow(NamedTuple):
    """A row of the history table; ``applied_at`` is in UTC. ``module_name`` None belongs to every module.

    The fields are in the order of the columns that ``history.sql`` selects.
    """

    id: int
    filename: str
    checksum: str
    module_name: str | None
    applied_at: datetime
    applied_by: str | None
    execution_time_ms: int | None


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """A migration and where it stands. ``checksum`` is the file's, or the recorded one where the file is gone."""

    filename: str
    version: str
    state: State
    checksum: str
    recorded_checksum: str | None
    transactional: bool
    applied_at: datetime | None
    applied_by: str | None
    execution_time_ms: int | None


@dataclass(frozen=True)
class ModuleStatus:
    """A module in one schema: its migrations in the order in which they apply."""

    module: str
    schema: str
    migrations: tuple[MigrationStatus, ...]

    @cached_property
    def counts(self) -> dict[State, int]:
        """How many migrations are in each state."""
        counts: dict[State, int] = dict.fromkeys(get_args(State), 0)
        for migration in self.migrations:
            counts[migration.state] += 1
        return counts

    @property
    def applied(self) -> int:
        """How many the history has, whose files are as they were."""
        return self.counts["applied"] + self.counts["baseline"]

    @property
    def pending(self) -> int:
        """How many are not applied, completely, for whatever reason."""
        states: tuple[State, ...] = ("pending", "out_of_order", "failed", "partial", "unknown")
        return sum(self.counts[state] for state in states)

    @property
    def version(self) -> str | None:
        """The version of the newest migration that is applied, in the order of versions."""
        for migration in reversed(self.migrations):
            if migration.applied_at is not None:
                return migration.version
        return None

    @property
    def state(self) -> ModuleState:
        """The state that wants attention first."""
        order: tuple[ModuleState, ...] = get_args(ModuleState)
        present: set[str] = {migration.state for migration in self.migrations}
        for state in order:
            if state in present:
                return state
        return "up_to_date"
