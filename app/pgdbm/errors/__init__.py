"""Every exception that pgdbm raises.

::

    AsyncDBError                        message, details
    ├── ConfigurationError              config_field
    ├── ConnectionError                 the server could not be reached or refused the connection
    ├── PoolError                       there is no pool, it is closed, or it belongs to the caller
    ├── SchemaError                     schema
    ├── QueryError                      query, params (masked), original_error
    ├── TransactionError
    ├── MigrationError                  migration_file, version, sql_error, code
    │   ├── MigrationFileError          line, column, hint
    │   ├── ChecksumMismatchError       recorded, current
    │   ├── OutOfOrderError             newest_applied, applied_as
    │   ├── PlanMovedError              plan, current_plan, applied
    │   ├── PlanRefusedError            limit, statement, line, column, hint
    │   ├── MigrationExecutionError     statement, line, column, sqlstate, detail, hint, applied
    │   ├── BaselineMismatchError       changes
    │   ├── MigrationUnknownError       statement, line, column
    │   └── MigrationLockTimeoutError   holder, waited_s
    ├── DatabaseTestError
    └── MonitoringError

The text of an exception says what happened, where, and what to do. :meth:`AsyncDBError.fields` gives the same to
programs. Where an exception has a ``hint``, it is the last line of the text, and not in ``message``.
"""

from __future__ import annotations

from .general import (
    AsyncDBError,
    ConfigurationError,
    ConnectionError,
    DatabaseTestError,
    MonitoringError,
    PoolError,
    QueryError,
    SchemaError,
    TransactionError,
)
from .migrations import (
    BaselineMismatchError,
    ChecksumMismatchError,
    MigrationError,
    MigrationExecutionError,
    MigrationFileError,
    MigrationLockTimeoutError,
    MigrationUnknownError,
    OutOfOrderError,
    PlanMovedError,
    PlanRefusedError,
)

__all__ = [
    "AsyncDBError",
    "BaselineMismatchError",
    "ChecksumMismatchError",
    "ConfigurationError",
    "ConnectionError",
    "DatabaseTestError",
    "MigrationError",
    "MigrationExecutionError",
    "MigrationFileError",
    "MigrationLockTimeoutError",
    "MigrationUnknownError",
    "MonitoringError",
    "OutOfOrderError",
    "PlanMovedError",
    "PlanRefusedError",
    "PoolError",
    "QueryError",
    "SchemaError",
    "TransactionError",
]
