"""Connections, queries, transactions and templates."""

from __future__ import annotations

from .config import NEUTRAL_SEARCH_PATH, DatabaseConfig
from .manager import AsyncDatabaseManager
from .schema import SchemaManager
from .transaction import TransactionManager

__all__ = ["NEUTRAL_SEARCH_PATH", "AsyncDatabaseManager", "DatabaseConfig", "SchemaManager", "TransactionManager"]
