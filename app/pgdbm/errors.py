"""Every exception that pgdbm raises.

::

    AsyncDBError                        message, details
    ├── ConfigurationError              config_field
    ├── ConnectionError                 the server could not be reached, or refused us
    ├── PoolError                       the pool is missing, closed, or not ours
    ├── SchemaError                     schema
    ├── QueryError                      query, params (masked), original_error
    ├── TransactionError
    ├── MigrationError                  migration_file, version, sql_error, code
    │   ├── MigrationFileError          line, column: a file that cannot be run as it is
    │   ├── ChecksumMismatchError       recorded, current
    │   ├── OutOfOrderError             newest_applied
    │   ├── MigrationExecutionError     statement, line, column, sqlstate, hint, applied
    │   ├── BaselineMismatchError       changes: the schema is not what the skipped files would build
    │   ├── MigrationUnknownError       statement, line, column: it may or may not have run
    │   └── MigrationLockTimeoutError   holder, waited_s
    ├── DatabaseTestError
    └── MonitoringError

Messages say what happened, where, and what to do; the fields carry the same for programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    "PoolError",
    "QueryError",
    "SchemaError",
    "TransactionError",
]


class AsyncDBError(Exception):
    """Base of everything below. ``details`` never holds a password or an unmasked DSN."""

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class ConfigurationError(AsyncDBError):
    """A setting is missing, contradicts another, or has no meaning."""

    def __init__(self, message: str, config_field: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details)
        self.config_field = config_field


class ConnectionError(AsyncDBError):  # noqa: A001 - the name is part of the public contract
    """The server could not be reached, or it refused us."""


class PoolError(AsyncDBError):
    """The pool is not there, is closed, or is not ours to open."""


class SchemaError(AsyncDBError):
    """A name is not a plain PostgreSQL identifier, or the schema is not usable."""

    def __init__(self, message: str, schema: str | None = None, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, details)
        self.schema = schema


class QueryError(AsyncDBError):
    """The server, or the encoding of a parameter, refused a query.

    ``params`` are masked: strings over 20 characters and all bytes are replaced. The asyncpg error is
    ``original_error`` and ``__cause__``.
    """

    def __init__(
        self,
        message: str,
        query: str | None = None,
        params: Sequence[Any] | None = None,
        original_error: BaseException | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, details)
        self.query = query
        self.params = params
        self.original_error = original_error


class TransactionError(AsyncDBError):
    """A transaction was used before it began or after it ended."""


class MigrationError(AsyncDBError):
    """Base of what can go wrong with migrations. ``code`` is stable and documented, for programs."""

    code = "migration_error"

    def __init__(
        self,
        message: str,
        migration_file: str | None = None,
        version: str | None = None,
        sql_error: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, details)
        self.migration_file = migration_file
        self.version = version
        self.sql_error = sql_error


class MigrationFileError(MigrationError):
    """A file cannot be run as it is. Raised before anything has run.

    ``line`` and ``column`` count from 1, in the file as its author wrote it; None where the whole file is meant.
    """

    code = "migration_file_invalid"

    def __init__(
        self,
        message: str,
        migration_file: str | None = None,
        *,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
        version: str | None = None,
    ) -> None:
        super().__init__(message, migration_file, version, details={"line": line, "column": column, "hint": hint})
        self.line = line
        self.column = column
        self.hint = hint


class ChecksumMismatchError(MigrationError):
    """A file that was applied has another content now. ``recorded`` is the history's, ``current`` the file's."""

    code = "checksum_changed"

    def __init__(self, migration_file: str, recorded: str, current: str) -> None:
        super().__init__(
            f"Migration {migration_file} has been modified after being applied: "
            f"the history has checksum {recorded}, the file now has {current}. "
            f"Put the file back as it was and write the change as a new migration.",
            migration_file,
            details={"recorded": recorded, "current": current},
        )
        self.recorded = recorded
        self.current = current


class OutOfOrderError(MigrationError):
    """A pending file sorts before one that is applied, and the policy is ``reject``."""

    code = "out_of_order"

    def __init__(self, migration_file: str, newest_applied: str) -> None:
        super().__init__(
            f"Migration {migration_file} is pending but sorts before {newest_applied}, which is applied. "
            f"Give it a newer version, or allow it with out_of_order='allow'.",
            migration_file,
            details={"newest_applied": newest_applied},
        )
        self.newest_applied = newest_applied


class MigrationExecutionError(MigrationError):
    """The server refused a statement.

    ``statement`` counts from 1 within the file; ``line`` and ``column`` (from 1) are those of the token that the
    server pointed at, else of the statement. ``applied`` names what this call applied before, which stays;
    ``attempts`` counts how often the migration was tried while locks of others were in its way.
    """

    code = "migration_failed"

    def __init__(
        self,
        message: str,
        migration_file: str,
        *,
        statement: int | None = None,
        line: int | None = None,
        column: int | None = None,
        sqlstate: str | None = None,
        sql_error: str | None = None,
        detail: str | None = None,
        hint: str | None = None,
        transactional: bool = True,
    ) -> None:
        super().__init__(
            message,
            migration_file,
            sql_error=sql_error,
            details={
                "statement": statement,
                "line": line,
                "column": column,
                "sqlstate": sqlstate,
                "detail": detail,
                "hint": hint,
            },
        )
        self.statement = statement
        self.line = line
        self.column = column
        self.sqlstate = sqlstate
        self.detail = detail
        self.hint = hint
        self.transactional = transactional
        self.applied: list[dict[str, Any]] = []
        self.attempts = 1


class BaselineMismatchError(MigrationError):
    """The schema is not what the migrations that a baseline skips would build. ``changes`` says what differs.

    ``before`` in a change is what the files would build, ``after`` what is there.
    """

    code = "baseline_mismatch"

    def __init__(self, message: str, changes: Sequence[Any]) -> None:
        super().__init__(message, details={"changes": [(one.kind, one.object_kind, one.name) for one in changes]})
        self.changes = tuple(changes)


class MigrationUnknownError(MigrationError):
    """A runner died under a statement outside a transaction, and the catalog does not tell whether it was done.

    Look, then say so with ``resolve_statement(filename, statement, done=...)``, and run again.
    """

    code = "outcome_unknown"

    def __init__(
        self, message: str, migration_file: str, *, statement: int | None = None, line: int | None = None
    ) -> None:
        super().__init__(message, migration_file, details={"statement": statement, "line": line})
        self.statement = statement
        self.line = line


class MigrationLockTimeoutError(MigrationError):
    """Another runner held the lock for longer than we were willing to wait.

    ``holder`` has pid, application_name, user, client, state, query and since, as far as the server told.
    """

    code = "lock_timeout"

    def __init__(self, message: str, *, waited_s: float, holder: Mapping[str, Any] | None) -> None:
        super().__init__(message, details={"waited_s": waited_s, "holder": dict(holder) if holder else None})
        self.waited_s = waited_s
        self.holder = holder


class DatabaseTestError(AsyncDBError):
    """A test database could not be made, filled or dropped."""


class MonitoringError(AsyncDBError):
    """A measurement could not be taken."""
