"""PostgreSQL for many services in one database: pools, schemas, migrations."""

from __future__ import annotations

from .core import AsyncDatabaseManager, DatabaseConfig, SchemaManager, TransactionManager
from .errors import (
    AsyncDBError,
    ChecksumMismatchError,
    ConfigurationError,
    ConnectionError,
    DatabaseTestError,
    MigrationError,
    MigrationExecutionError,
    MigrationFileError,
    MigrationLockTimeoutError,
    MonitoringError,
    OutOfOrderError,
    PoolError,
    QueryError,
    SchemaError,
    TransactionError,
)
from .migrations import AsyncMigrationManager, Migration

__version__ = "0.6.0"

__all__ = [
    "AsyncDBError",
    "AsyncDatabaseManager",
    "AsyncMigrationManager",
    "ChecksumMismatchError",
    "ConfigurationError",
    "ConnectionError",
    "DatabaseConfig",
    "DatabaseTestError",
    "Migration",
    "MigrationError",
    "MigrationExecutionError",
    "MigrationFileError",
    "MigrationLockTimeoutError",
    "MonitoringError",
    "OutOfOrderError",
    "PoolError",
    "QueryError",
    "SchemaError",
    "SchemaManager",
    "TransactionError",
    "TransactionManager",
    "__version__",
]
