"""Converts errors of the library, the driver and the file system into errors of the service."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import structlog

from pgdbm import errors as library
from pgdbm.core.asyncpg_errors import is_lost, is_pool_closed, is_unreadable
from pgdbm.core.templating import quote
from pgdbm.migrations.state.lock import described
from pgdbm.text import bounded, sentence

from ..errors import ServiceError
from ..errors.codes import ERROR_KINDS
from .logins import LoginError
from .masking import masked
from .rows import UnreadableRowsError
from .service_schema import SERVICE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping

# SQLSTATEs of a session that the server ended or refused, and of a session on a server that accepts no writes,
# such as a leader that has become a standby.
_UNAVAILABLE = frozenset({"57P01", "57P02", "57P03", "57P05", "53300", "25006"})
# The server, or the tablespace, has no space on its disk, or no memory. Temporary: it can be freed.
_OUT_OF_RESOURCES = frozenset({"53000", "53100", "53200", "53400"})
_LOCK_NOT_AVAILABLE = "55P03"
# Serialization failure, deadlock.
_CONFLICTS = ("40001", "40P01")
_RETRIABLE = (_LOCK_NOT_AVAILABLE, *_CONFLICTS)
_QUERY_CANCELED = "57014"
_INTERNAL_SERVER_ERROR = 500
_UNDEFINED_TABLE, _UNDEFINED_SCHEMA, _INSUFFICIENT_PRIVILEGE = "42P01", "3F000", "42501"

_UNREACHABLE = "The database cannot be reached."
_UNREADABLE = "The database server's answer could not be understood: something between it and the service changed it."
# What a refused connection means, without the names and addresses that may be in the server's message.
_REFUSALS = {
    "28P01": "The database rejects the service's password.",
    "28000": "The database does not let the service's user log in.",
    "3D000": "The database does not exist.",
    "42501": "The service's database user lacks a privilege.",
    "53300": "The database accepts no more connections.",
    "55000": "The database does not accept connections.",
    "57P03": "The database server is starting up or shutting down.",
    "25006": "The server accepts no writes: it is a standby, or set to read-only.",
    "53000": "The database server lacks a resource.",
    "53100": "The database server's disk, or a tablespace, is full.",
    "53200": "The database server is out of memory.",
    "53400": "A limit that is configured in the database server is exceeded.",
}

_LOGIN_HINTS = {
    "28P01": "Its password is wrong, or its file was not updated when the password was changed.",
    "28000": "CREATE ROLE {login} LOGIN, if there is no such role, and allow it in pg_hba.conf.",
    "42501": "GRANT CONNECT ON DATABASE … TO {login}.",
    "53300": "It has reached its connection limit: raise the CONNECTION LIMIT of the role, or lower "
    "PGDBM_LOGIN_CONNECTIONS.",
}

_PERMISSION_DENIED = re.compile(r"permission denied for (?P<kind>database|schema|table|sequence) (?P<name>\S+)")
_CREATE_SCHEMA = re.compile(r'CREATE SCHEMA IF NOT EXISTS "?(?P<name>[^"\s]+)"?')
_GRANTS = {"database": "CREATE", "schema": "USAGE, CREATE", "sequence": "USAGE"}

logger = structlog.get_logger("pgdbm_service")


def is_unavailable(error: BaseException | None) -> bool:
    """Whether ``error`` means that there is no working connection, as opposed to a statement that was refused."""
    if isinstance(error, ServiceError):
        return error.code == "database_unavailable"
    if isinstance(error, library.QueryError):
        return is_unavailable(error.original_error)
    if isinstance(error, library.MigrationExecutionError):
        # A statement of a file can fail with any SQLSTATE.
        return error.read_only_server
    if isinstance(error, LoginError):
        return False
    if isinstance(error, library.ConnectionError | library.PoolError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, asyncpg.InternalClientError):
        # Either the connection is gone, or what was received cannot be parsed.
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return is_lost(error) or is_pool_closed(error)
    if error is not None and is_not_understood(error):
        return True
    state = getattr(error, "sqlstate", None)
    return isinstance(state, str) and (state in _UNAVAILABLE or state in _OUT_OF_RESOURCES or state.startswith("08"))


def is_short_of_resources(error: BaseException | None) -> bool:
    """Whether the server is connected, and has no space on its disk or no memory for a statement."""
    if isinstance(error, ServiceError):
        return error.fields.get("sqlstate") in _OUT_OF_RESOURCES
    return getattr(_refusal_in(error), "sqlstate", None) in _OUT_OF_RESOURCES


def is_not_understood(error: BaseException) -> bool:
    """Whether an answer of the server is impossible for the statement, because something in between changed it.

    JSON in requests is decoded where it is received, so JSON that fails here comes from the service's own tables.
    """
    if isinstance(error, library.QueryError) and error.original_error is not None:
        return is_not_understood(error.original_error)
    return isinstance(error, UnreadableRowsError | msgspec.DecodeError) or is_unreadable(error)


def is_conflict(error: BaseException | None) -> bool:
    """Whether PostgreSQL rolled a transaction back because of concurrent ones, so that repeating it can succeed."""
    if isinstance(error, library.QueryError):
        error = error.original_error
    return getattr(error, "sqlstate", None) in _CONFLICTS


def is_lock_timeout(error: BaseException) -> bool:
    """Whether one of the service's own queries could not get a lock on a table."""
    return isinstance(error, library.QueryError) and _is_lock_not_available(error)


def _is_lock_not_available(error: library.QueryError) -> bool:
    return getattr(error.original_error, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def table_locked(holder: Mapping[str, Any]) -> ServiceError:
    """The ServiceError for a table that the session ``holder`` has locked. ``holder`` also contains the ``table``."""
    session = {name: value for name, value in holder.items() if name != "table"}
    return ServiceError(
        "lock_timeout",
        f"{holder['table']} had to be read, and {described(session)}, {holder['state']}, has locked it. Try again when "
        f"that has ended.",
        holder=session,
    )


def database_unavailable(error: BaseException | None = None) -> ServiceError:
    """The ServiceError for a connection that ``error`` refused or ended.

    ``database_message`` is the server's message. The message may name users, databases and addresses: the web layer
    sends them only to principals with the scope ``read``.
    """
    refusal = _refusal_in(error)
    if refusal is not None and is_not_understood(refusal):
        return ServiceError("database_unavailable", _UNREADABLE)
    if refusal is None:
        return ServiceError("database_unavailable", f"{_UNREACHABLE} The service keeps trying to connect.")
    sqlstate = getattr(refusal, "sqlstate", None)
    rest = "The service keeps trying to connect."
    if sqlstate in _OUT_OF_RESOURCES:
        rest = "The service can read, and writes again as soon as that has ended. It needs no restart."
    return ServiceError(
        "database_unavailable",
        f"{_REFUSALS.get(sqlstate or '', _UNREACHABLE)} {rest}",
        sqlstate=sqlstate,
        database_message=str(refusal) or None,
    )


def login_unavailable(error: LoginError) -> ServiceError:
    """The ServiceError for a login of modules that was refused."""
    return ServiceError(
        "login_unavailable",
        f"The module is migrated by the database login {error.login}, which was refused. Other modules are not "
        f"affected.",
        login=error.login,
        sqlstate=error.sqlstate,
        database_message=bounded(error.reason),
        hint=_LOGIN_HINTS.get(error.sqlstate or "", "").format(login=quote(error.login)) or None,
    )


def _refusal_in(error: BaseException | None) -> BaseException | None:
    """The error of the server or the operating system that caused ``error``."""
    if not isinstance(error, library.AsyncDBError):
        return error
    cause = error.original_error if isinstance(error, library.QueryError) else error.__cause__
    # An error that was raised from itself is its own cause.
    return None if cause is error else _refusal_in(cause)


def service_schema_missing() -> ServiceError:
    return ServiceError(
        "database_unavailable",
        f"The schema {SERVICE_SCHEMA}, or a table in it, was dropped. The service recreates it, without what was "
        f"registered.",
        retry_after_s=5,
    )


def service_schema_forbidden(reason: str) -> ServiceError:
    """``reason`` contains the server's message."""
    return ServiceError(
        "database_unavailable",
        f"The service's database user lacks privileges on the schema {SERVICE_SCHEMA}, or on a table in it. It needs "
        f"USAGE and CREATE on the schema, and SELECT, INSERT, UPDATE and DELETE on all of its tables.",
        sqlstate=_INSUFFICIENT_PRIVILEGE,
        database_message=reason,
    )


def service_error_of(error: Exception) -> ServiceError:
    """The ServiceError for any exception. Where it is handled, :func:`log_failure` logs what the operator has to
    know."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, LoginError):
        return login_unavailable(error)
    if is_unavailable(error):
        return database_unavailable(error)
    if misses_service_schema(error):
        return service_schema_missing()
    if _lacks_service_schema(error):
        return service_schema_forbidden(str(_refusal_in(error)))
    if isinstance(error, library.MonitoringError) and isinstance(error.__cause__, library.AsyncDBError):
        return service_error_of(error.__cause__)
    if isinstance(error, library.MigrationError):
        return _of_migration(error)
    if isinstance(error, library.QueryError):
        return _of_query(error)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        name = Path(error.filename).name
        return ServiceError("migration_file_invalid", f"{name} cannot be read: {error.strerror}.", filename=name)
    return _internal_error()


def insufficient_privilege(message: str, query: str = "") -> ServiceError:
    """The ServiceError for a statement that a module needs but the server refused with ``message``."""
    found = _PERMISSION_DENIED.search(message)
    schema = _CREATE_SCHEMA.match(query)
    wanted = f"The schema {schema['name']} cannot be created" if schema else "A statement was refused"
    hint = None
    if found is not None:
        grant = _GRANTS.get(found["kind"], "SELECT, INSERT, UPDATE, DELETE")
        hint = f"GRANT {grant} ON {found['kind'].upper()} {found['name']} TO the service's database user"
        hint += ", or create the schema and make that user its owner." if found["kind"] == "database" else "."
    return ServiceError(
        "insufficient_privilege",
        sentence(f"{wanted}: {message}"),
        sqlstate=_INSUFFICIENT_PRIVILEGE,
        database_message=message,
        hint=hint,
    )


def log_failure(problem: ServiceError, error: BaseException | None = None) -> None:
    """Log ``problem``, caused by ``error``, if only the operator can fix it."""
    cause = error if error is not None and error is not problem else problem.__cause__
    if problem.detail == _UNREADABLE:
        logger.error("answer of the database not understood", exc_info=cause or problem)
    elif problem.code == "database_unavailable":
        words = problem.fields.get("database_message")
        logger.warning("database unavailable", reason=problem.detail, database_message=words)
    elif problem.code == "database_error":
        query = cause.query if isinstance(cause, library.QueryError) else None
        logger.error(
            "database error",
            reason=problem.detail.splitlines()[0],
            sqlstate=problem.fields.get("sqlstate"),
            query=query,
        )
    elif problem.kind.status == _INTERNAL_SERVER_ERROR:
        logger.error("internal error", exc_info=cause or problem)


def _internal_error() -> ServiceError:
    return ServiceError("internal_error", "The service failed. Its log has the cause.")


def misses_service_schema(error: BaseException) -> bool:
    """Whether a statement failed because the service schema, or a table in it, was dropped."""
    cause = error.original_error if isinstance(error, library.QueryError) else error
    state = getattr(cause, "sqlstate", None)
    return state in (_UNDEFINED_TABLE, _UNDEFINED_SCHEMA) and SERVICE_SCHEMA in str(cause)


def _lacks_service_schema(error: BaseException) -> bool:
    """Whether a statement on the service's own tables failed because of a missing privilege."""
    if isinstance(error, library.QueryError):
        # The server's message about a table has no schema.
        lacks = getattr(error.original_error, "sqlstate", None) == _INSUFFICIENT_PRIVILEGE
        return lacks and SERVICE_SCHEMA in f"{error.query} {error.original_error}"
    # Failures of a module's own SQL are errors of the library.
    return isinstance(error, asyncpg.InsufficientPrivilegeError)


def _of_migration(error: library.MigrationError) -> ServiceError:
    fields = error.fields()
    if fields.get("holder"):
        # The query may contain values.
        fields["holder"].pop("query", None)
    for blocker in fields.get("waiting_for") or ():
        blocker["query"] = masked(blocker.get("query"))
    code = error.code if error.code in ERROR_KINDS else "migration_error"
    if not isinstance(error, library.MigrationExecutionError):
        return ServiceError(code, error.message, **fields)
    if error.sqlstate in _RETRIABLE:
        code = "lock_timeout"
    elif error.sqlstate in _OUT_OF_RESOURCES:
        code = "insufficient_resources"
    # The details are in separate fields, which not every reader receives and which are not logged.
    return ServiceError(code, error.summary, **fields)


def _of_query(error: library.QueryError) -> ServiceError:
    sqlstate = getattr(error.original_error, "sqlstate", None)
    if _is_lock_not_available(error):
        return ServiceError("lock_timeout", "Another session holds a lock on what had to be read.")
    if sqlstate in _CONFLICTS:
        return ServiceError(
            "lock_timeout", sentence(f"Concurrent transactions conflicted with it: {error.original_error}")
        )
    if sqlstate == _QUERY_CANCELED:
        return ServiceError("database_unavailable", "The database did not answer in time.")
    if not isinstance(error.original_error, asyncpg.PostgresError):
        return _internal_error()
    message = bounded(str(error.original_error))
    if sqlstate == _INSUFFICIENT_PRIVILEGE:
        return insufficient_privilege(message, error.query or "")
    return ServiceError(
        "database_error", sentence(f"The database refused: {message}"), sqlstate=sqlstate, database_message=message
    )
