"""Migrations: files per module, a history per schema, and an engine that applies each exactly once."""

from __future__ import annotations

from .files import Migration
from .manager import AsyncMigrationManager
from .results import HistoryRow, MigrationStatus, ModuleStatus

__all__ = ["AsyncMigrationManager", "HistoryRow", "Migration", "MigrationStatus", "ModuleStatus"]
