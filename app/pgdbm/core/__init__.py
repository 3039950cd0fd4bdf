"""Connections, queries, transactions and templates."""

from __future__ import annotations

from .config import DatabaseConfig
from .manager import AsyncDatabaseManager
from .schema import SchemaManager
from .transaction import TransactionManager

__all__ = ["AsyncDatabaseManager", "DatabaseConfig", "SchemaManager", "TransactionManager"]
