"""Tools for many services in one PostgreSQL database: pools, schemas, migrations.

Names are loaded on first use, so that ``pgdbm --help`` does not load asyncpg.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .core import AsyncDatabaseManager, DatabaseConfig, SchemaManager, TransactionManager
    from .errors import (
        AsyncDBError,
        BaselineMismatchError,
        ChecksumMismatchError,
        ConfigurationError,
        ConnectionError,
        DatabaseTestError,
        MigrationError,
        MigrationExecutionError,
        MigrationFileError,
        MigrationLockTimeoutError,
        MigrationUnknownError,
        MonitoringError,
        OutOfOrderError,
        PlanMovedError,
        PlanRefusedError,
        PoolError,
        QueryError,
        SchemaError,
        TransactionError,
    )
    from .migrations import AsyncMigrationManager, Migration
    from .monitoring import (
        ConnectionMetrics,
        DatabaseDebugger,
        MonitoredAsyncDatabaseManager,
        QueryMetrics,
        log_query_performance,
    )
    from .testing import AsyncTestDatabase, DatabaseTestCase, DatabaseTestConfig

__all__ = [
    "AsyncDBError",
    "AsyncDatabaseManager",
    "AsyncMigrationManager",
    "AsyncTestDatabase",
    "BaselineMismatchError",
    "ChecksumMismatchError",
    "ConfigurationError",
    "ConnectionError",
    "ConnectionMetrics",
    "DatabaseConfig",
    "DatabaseDebugger",
    "DatabaseTestCase",
    "DatabaseTestConfig",
    "DatabaseTestError",
    "Migration",
    "MigrationError",
    "MigrationExecutionError",
    "MigrationFileError",
    "MigrationLockTimeoutError",
    "MigrationUnknownError",
    "MonitoredAsyncDatabaseManager",
    "MonitoringError",
    "OutOfOrderError",
    "PlanMovedError",
    "PlanRefusedError",
    "PoolError",
    "QueryError",
    "QueryMetrics",
    "SchemaError",
    "SchemaManager",
    "TransactionError",
    "TransactionManager",
    "__version__",
    "log_query_performance",
]

_SUBMODULES = frozenset({"core", "errors", "migrations", "monitoring", "testing"})
_HOMES = {
    **dict.fromkeys(("AsyncDatabaseManager", "DatabaseConfig", "SchemaManager", "TransactionManager"), "core"),
    **dict.fromkeys(("AsyncMigrationManager", "Migration"), "migrations"),
    **dict.fromkeys(
        (
            "ConnectionMetrics",
            "DatabaseDebugger",
            "MonitoredAsyncDatabaseManager",
            "QueryMetrics",
            "log_query_performance",
        ),
        "monitoring",
    ),
    **dict.fromkeys(("AsyncTestDatabase", "DatabaseTestCase", "DatabaseTestConfig"), "testing"),
}

# Hidden from type checkers, which assume that a module with __getattr__ has every name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _SUBMODULES:
            return import_module(f"{__name__}.{name}")
        # Every public name that is not listed above is an exception.
        home = _HOMES.get(name) or ("errors" if name in __all__ else None)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_SUBMODULES})
