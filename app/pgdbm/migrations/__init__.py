"""Migrations: files per module, a history per schema, and an engine that applies each exactly once.

Names are loaded on first use, so that code that needs only the result types does not import asyncpg.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .engine.blockers import BlockerPolicy
    from .engine.statuses import MigrationStatus, ModuleStatus
    from .manager import AsyncMigrationManager
    from .results import HistoryRow, PlanLimits
    from .sources.migration import Migration

__all__ = [
    "AsyncMigrationManager",
    "BlockerPolicy",
    "HistoryRow",
    "Migration",
    "MigrationStatus",
    "ModuleStatus",
    "PlanLimits",
]

_HOMES = {
    "AsyncMigrationManager": "manager",
    "BlockerPolicy": "engine.blockers",
    "HistoryRow": "results",
    "Migration": "sources.migration",
    "MigrationStatus": "engine.statuses",
    "ModuleStatus": "engine.statuses",
    "PlanLimits": "results",
}

# Hidden from type checkers, for which a module with __getattr__ has every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value
