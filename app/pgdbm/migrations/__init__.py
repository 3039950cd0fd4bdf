"""Migrations: files per module, a history per schema, and an engine that applies each migration exactly once.

Names are loaded on first use, so that code that needs only the result types does not import asyncpg.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .backfill.records import BackfillState
    from .engine.backfill_control import Backfills
    from .engine.blockers import BlockerPolicy, EndedBlocker
    from .engine.events import Event
    from .engine.migration_plan import MigrationPlan
    from .engine.plan import Plan, ReadPlan
    from .engine.statuses import MigrationStatus, ModuleStatus
    from .manager import AsyncMigrationManager
    from .multi_schema import MultiSchema, SchemaResult, schemas_from, schemas_like
    from .rehearsal.results import Rehearsal
    from .results import Applied, HistoryRow, Notice, PlanLimits, Repair
    from .sources.migration import Migration
    from .state.drift import DriftReport
    from .state.journal_entries import JournalEntry

__all__ = [
    "Applied",
    "AsyncMigrationManager",
    "BackfillState",
    "Backfills",
    "BlockerPolicy",
    "DriftReport",
    "EndedBlocker",
    "Event",
    "HistoryRow",
    "JournalEntry",
    "Migration",
    "MigrationPlan",
    "MigrationStatus",
    "ModuleStatus",
    "MultiSchema",
    "Notice",
    "Plan",
    "PlanLimits",
    "ReadPlan",
    "Rehearsal",
    "Repair",
    "SchemaResult",
    "schemas_from",
    "schemas_like",
]

_HOMES = {
    "Applied": "results",
    "AsyncMigrationManager": "manager",
    "BackfillState": "backfill.records",
    "Backfills": "engine.backfill_control",
    "BlockerPolicy": "engine.blockers",
    "DriftReport": "state.drift",
    "EndedBlocker": "engine.blockers",
    "Event": "engine.events",
    "HistoryRow": "results",
    "JournalEntry": "state.journal_entries",
    "Migration": "sources.migration",
    "MigrationPlan": "engine.migration_plan",
    "MigrationStatus": "engine.statuses",
    "ModuleStatus": "engine.statuses",
    "MultiSchema": "multi_schema",
    "Notice": "results",
    "Plan": "engine.plan",
    "PlanLimits": "results",
    "ReadPlan": "engine.plan",
    "Rehearsal": "rehearsal.results",
    "Repair": "results",
    "SchemaResult": "multi_schema",
    "schemas_from": "multi_schema",
    "schemas_like": "multi_schema",
}

# Hidden from type checkers, for which a module with __getattr__ has every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value
