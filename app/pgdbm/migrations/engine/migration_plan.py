"""What a call of apply would do, as data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ...errors import PlanRefusedError
    from ..lint import Finding, Fix, StatementInspection, TableUse
    from ..results import Renamed
    from ..sources.migration import Migration


@dataclass(frozen=True, slots=True)
class PlannedMigration:
    """A pending migration: its statements with their locks, and the findings of the linter.

    ``sql`` has the text of each statement as it would be sent; ``impact``: what the heaviest one does to a table, as a
    sentence. ``fix``: files that do the same without the long locks in its findings.
    """

    filename: str
    version: str
    checksum: str
    transactional: bool
    sql: tuple[str, ...]
    statements: tuple[StatementInspection, ...]
    findings: tuple[Finding, ...]
    impact: str
    fix: Fix | None = None


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """The plan of a call of apply. ``tables``: the existing tables, by their names in the statements' locks.

    ``renamed``: files that were applied under another name; they are neither ``pending`` nor ``skipped``.
    ``refusal``: the error that apply would raise because of the module's limits.
    """

    module: str
    schema: str
    pending: tuple[PlannedMigration, ...]
    skipped: tuple[str, ...]
    tables: Mapping[str, TableUse]
    renamed: tuple[Renamed, ...] = ()
    refusal: PlanRefusedError | None = None

    @property
    def digest(self) -> str:
        """Identifies the plan: ``sha256:`` and the hash of module, schema and the pending files."""
        return plan_digest(self.module, self.schema, self.pending)


def plan_digest(module: str, schema: str, pending: Iterable[PlannedMigration | Migration]) -> str:
    """The digest of the plan that would apply ``pending``, in this order, in ``schema``."""
    parts = [module, schema, *(f"{one.filename}\n{one.checksum}" for one in pending)]
    return "sha256:" + hashlib.sha256("\n\n".join(parts).encode()).hexdigest()
