"""The results of the migration engine: plain data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from datetime import datetime

State = Literal[
    "pending",
    "applied",
    "baseline",
    "changed",
    "missing",
    "ahead",
    "out_of_order",
    "failed",
    "partial",
    "backfilling",
    "unknown",
]
"""The state of a migration.

``changed``: applied, and the content of its file has changed. ``missing``: applied, but there is no file; ``ahead``:
the same, and newer than every file, which is what an older release of an application finds. ``out_of_order``: pending,
older than the newest applied one, and therefore refused. ``failed``: pending, and the last attempt failed. ``partial``:
a file without a transaction that stopped, and will be resumed; ``backfilling``: a backfill that has started and not
ended, or that the module did not wait for; ``unknown``: its runner died during a statement. ``baseline``: treated as
applied, where the history begins.
"""
ModuleState = Literal[
    "unknown",
    "partial",
    "failed",
    "changed",
    "out_of_order",
    "pending",
    "backfilling",
    "missing",
    "ahead",
    "up_to_date",
]
MODULE_STATES: tuple[ModuleState, ...] = get_args(ModuleState)
"""The states of a module, the most urgent first."""
OutOfOrder = Literal["allow", "reject"]
Blocked = Literal["nothing", "schema changes", "writes", "reads and writes"]
BLOCKED: tuple[Blocked, ...] = get_args(Blocked)
"""What a lock blocks, from least to most."""
JournalEvent = Literal[
    "started",
    "applied",
    "failed",
    "connection_lost",
    "retried",
    "finished",
    "marked",
    "unmarked",
    "renamed",
    "reverted",
    "blocker_ended",
    "repaired",
    "baselined",
    "paused",
    "resumed",
    "limited",
]


class Applied(NamedTuple):
    """A migration that a call applied. ``execution_time_ms`` is measured by the server."""

    filename: str
    execution_time_ms: int


class Renamed(NamedTuple):
    """A file that was applied under the name ``applied_as``, and was not run again."""

    filename: str
    applied_as: str


class Notice(NamedTuple):
    """A message of the server that is not an error: ``severity`` NOTICE, WARNING, INFO and the like."""

    filename: str | None
    severity: str
    sqlstate: str
    message: str


class ApplyResult(NamedTuple):
    """The result of a call of apply. ``skipped`` were applied before; ``pending`` is filled on a dry run only.

    ``renamed`` files are also in ``applied``, or in ``pending``. ``notices`` are the first hundred; ``omitted_notices``
    counts the others.
    """

    status: Literal["success", "up_to_date", "dry_run"]
    applied: tuple[Applied, ...]
    skipped: tuple[str, ...]
    pending: tuple[str, ...]
    total: int
    total_time_ms: float
    renamed: tuple[Renamed, ...] = ()
    notices: tuple[Notice, ...] = ()
    omitted_notices: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The answer of :meth:`~pgdbm.migrations.AsyncMigrationManager.apply_pending_migrations`."""
        answer: dict[str, Any] = {
            "status": self.status,
            "applied": [one._asdict() for one in self.applied],
            "skipped": list(self.skipped),
            "total": self.total,
        }
        if self.status == "dry_run":
            answer["pending"] = list(self.pending)
        else:
            answer["total_time_ms"] = self.total_time_ms
        if self.renamed:
            answer["renamed"] = [one._asdict() for one in self.renamed]
        if self.notices:
            answer["notices"] = [one._asdict() for one in self.notices]
        if self.omitted_notices:
            answer["omitted_notices"] = self.omitted_notices
        return answer


class PlanLimits(NamedTuple):
    """What pending migrations may do; a plan that does more is refused before anything runs.

    ``max_rewrite`` (bytes, None: no limit): the size of the largest table that a statement may rewrite.
    ``max_blocked``: what may wait while a statement reads or rewrites a table with rows; what waits for a moment does
    not count. ``findings``: whether a file may have findings that are not ignored for a reason.
    """

    max_rewrite: int | None = None
    max_blocked: Blocked = "reads and writes"
    findings: Literal["allow", "refuse"] = "allow"

    def with_stricter(self, other: PlanLimits) -> PlanLimits:
        """The combined limits, which allow only what both allow."""
        sizes = [size for size in (self.max_rewrite, other.max_rewrite) if size is not None]
        return PlanLimits(
            min(sizes, default=None),
            BLOCKED[min(BLOCKED.index(self.max_blocked), BLOCKED.index(other.max_blocked))],
            "refuse" if "refuse" in (self.findings, other.findings) else "allow",
        )


NO_LIMITS = PlanLimits()
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(text: str) -> int:
    """``1GB``, ``500 MB`` and the like in bytes. Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d{1,9})\s?([kMGT]B)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 500MB or 1GB")
    return int(match[1]) * _UNITS[match[2]]


class Repair(NamedTuple):
    """An applied migration whose content has changed. ``diff`` is None if the previous content is not known."""

    filename: str
    recorded: str
    current: str
    diff: str | None = None


class HistoryRow(NamedTuple):
    """A row of the history table; ``applied_at`` is in UTC. with ``module_name`` None it belongs to every module.

    The fields are in the order of the columns that ``history.sql`` selects.
    """

    id: int
    filename: str
    checksum: str
    module_name: str | None
    applied_at: datetime
    applied_by: str | None
    execution_time_ms: int | None
