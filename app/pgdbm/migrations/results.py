"""What the migration engine answers with: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

State = Literal["pending", "applied", "changed", "missing", "out_of_order"]
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
class HistoryRow:
    """A row of the history table; ``applied_at`` is in UTC. ``module_name`` None belongs to every module."""

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
        counts: dict[State, int] = dict.fromkeys(("pending", "applied", "changed", "missing", "out_of_order"), 0)
        for migration in self.migrations:
            counts[migration.state] += 1
        return counts

    @property
    def version(self) -> str | None:
        """The version of the newest migration that is applied, in the order of versions."""
        for migration in reversed(self.migrations):
            if migration.applied_at is not None:
                return migration.version
        return None

    @property
    def state(self) -> Literal["up_to_date", "pending", "changed", "out_of_order", "missing"]:
        """The state that wants attention first."""
        for state in ("changed", "out_of_order", "pending", "missing"):
            if self.counts[state]:
                return state
        return "up_to_date"
