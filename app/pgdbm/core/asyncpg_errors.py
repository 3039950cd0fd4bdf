"""What asyncpg's exceptions mean.

asyncpg has one class for several situations that only the text distinguishes. All of these texts are in this file;
``tests/integration/core/test_asyncpg_errors.py`` provokes each of them, so that a release of asyncpg that words it
differently fails there.
"""

from __future__ import annotations

import re
import ssl
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from ..errors import AsyncDBError
from ..errors.general import restored
from ..text import error_text

if TYPE_CHECKING:
    from .connection import Connection

Ours = TypeVar("Ours", bound=AsyncDBError)

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What a query raises when the server rejects it, or the connection or the driver fails."""

UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    # As during a failover.
    asyncpg.TargetServerAttributeNotMatched,
)
"""Reasons why a connection could not be opened, although another attempt may succeed: see :func:`is_worth_retrying`."""

_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)

# asyncpg's own.
_NO_TLS = "rejected SSL upgrade"
_CONNECTION_CLOSED = "connection is closed"
_RELEASED = "released back to the pool"
# The server ended the session between two queries: the protocol is in a state that accepts no query, or the pool
# noticed it while the connection was being released.
_ENDED_BETWEEN_QUERIES = ("cannot switch to state", "free connection holder")
_DECODES = "_decode"
_POOL_CLOSED = ("pool is closed", "pool is closing")
_POOL_NOT_OPEN = "pool is not initialized"
# Patterns of errors: compiled when the first such error is read, not in each process.
_UNENCODABLE = (
    r"(?s)(invalid input for query argument[^:]*): .*?"
    r"( \((?:expected \w+, got \w+|value out of \w+ range|'\w+' object [a-z ]+(?: '\w+')?)\))?\Z"
)

# Errors of the server or a pooler whose class is less specific than their text.
_STARTUP_SETTING_REFUSED = "unsupported startup parameter"
_TLS_REQUIRED = ("no encryption", "SSL off")
_CERTIFICATE = "certificate"
_UNKNOWN_SETTING = r'unrecognized configuration parameter "([^"]+)"'
_UNDEFINED_TABLE = r'relation "(\w+)" does not exist'
_CREATED_IN_CATALOG = r'permission denied to create "pg_catalog\.(\w+)"'
_SCHEMA_DENIED = r"permission denied for schema (.+)"


def as_both(kind: type[Ours], error: BaseException) -> type[Ours]:
    """A class like ``kind`` whose instances are also instances of the class of ``error``. It keeps the name and text of
    ``kind``.

    Only for asyncpg's classes: some built-in constructors give their arguments a different meaning.
    """
    if not isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return kind
    key = kind, type(error)
    if key not in _combined:
        _combined[key] = _combine(*key)
    found = _combined[key]
    assert issubclass(found, kind)
    return found


_combined: dict[tuple[type, type], type] = {}


def _combine(kind: type, other: type) -> type:
    return type(
        kind.__name__,
        (kind, other),
        {
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "__doc__": kind.__doc__,
            # asyncpg's own text includes the DETAIL, which may quote values.
            "__str__": kind.__str__,
            # The class cannot be imported by name, so a copy in another process is an instance of ``kind``.
            "__reduce__": lambda error: (restored, (kind, error.args, _without_original(error.__dict__))),
        },
    )


def copy_fields(source: BaseException, target: BaseException) -> None:
    """Copy the fields of the server's error that ``target`` has not set itself, such as ``constraint_name``."""
    for name, value in vars(source).items():
        vars(target).setdefault(name, value)


def _without_original(values: dict[str, object]) -> dict[str, object]:
    return {**values, "original_error": None} if "original_error" in values else values


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, as opposed to the server having rejected a statement."""
    if isinstance(error, _LOST):
        # A statement that connects to another server, with dblink or CREATE SUBSCRIPTION, fails with such an error too.
        return getattr(error, "severity_en", None) != "ERROR"
    if isinstance(error, asyncpg.InternalClientError):
        return any(words in str(error) for words in _ENDED_BETWEEN_QUERIES)
    return is_closed(error)


def lost_message(error: BaseException) -> str:
    """What happened to a lost connection, as a sentence."""
    if is_closed(error):
        return "The connection to the server was closed."
    # A timeout of the operating system has an errno.
    if isinstance(error, TimeoutError) and error.errno is None:
        return "The server did not answer within the time limit of a query (command_timeout)."
    return f"The connection to the server was lost or refused: {error_text(error)}"


def is_closed(error: BaseException) -> bool:
    """Whether a connection was used after it had been closed, for a reason that asyncpg does not keep."""
    return type(error) is asyncpg.InterfaceError and any(
        words in str(error) for words in (_CONNECTION_CLOSED, _RELEASED)
    )


def is_unreadable(error: BaseException) -> bool:
    """Whether asyncpg could not understand what the server sent, because something in between changed it."""
    if isinstance(error, asyncpg.InternalClientError):
        return not is_lost(error)
    # Errors of the request itself, and errors that the server sent.
    others = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, UnicodeEncodeError, MemoryError)
    if not isinstance(error, Exception) or isinstance(error, others):
        return False
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    # The compiled modules, which read messages and decode values. A TypeError is most often about a parameter.
    code = traceback.tb_frame.f_code
    return code.co_filename.startswith("asyncpg/") and (
        not isinstance(error, TypeError) or code.co_name.endswith(_DECODES)
    )


def is_alive(connection: Connection) -> bool:
    """Whether ``connection`` can still be used. A connection that broke while acquired is no longer in the pool."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


def is_pool_closed(error: BaseException) -> bool:
    """Whether the pool is closed, closing, or not open yet."""
    return isinstance(error, asyncpg.InterfaceError) and str(error).startswith((*_POOL_CLOSED, _POOL_NOT_OPEN))


def is_worth_retrying(error: BaseException) -> bool:
    """Whether the next attempt to connect may succeed where this one failed."""
    if isinstance(error, ssl.SSLError):
        return isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return isinstance(error, UNREACHABLE) and not (server_has_no_tls(error) or is_startup_setting_refused(error))


def is_limit_reached(error: BaseException | None) -> bool:
    """Whether the server, the database or the role has reached its limit of connections."""
    return isinstance(error, asyncpg.TooManyConnectionsError)


def server_has_no_tls(error: BaseException) -> bool:
    return _NO_TLS in str(error)


def is_startup_setting_refused(error: BaseException) -> bool:
    """Whether a pooler refused a setting in the startup packet."""
    return _STARTUP_SETTING_REFUSED in str(error)


def unknown_setting(error: BaseException) -> str | None:
    """The setting in the startup packet that is unknown to the server."""
    found = re.search(_UNKNOWN_SETTING, str(error)) if isinstance(error, asyncpg.UndefinedObjectError) else None
    return found[1] if found else None


def is_tls_required(error: BaseException) -> bool:
    """Whether pg_hba.conf has an entry for this user with TLS only."""
    return isinstance(error, asyncpg.InvalidAuthorizationSpecificationError) and any(
        words in str(error) for words in _TLS_REQUIRED
    )


def is_certificate_required(error: BaseException) -> bool:
    """Whether the server requests a client certificate."""
    return isinstance(error, asyncpg.InvalidAuthorizationSpecificationError) and _CERTIFICATE in str(error)


def unqualified_table(error: BaseException) -> str | None:
    """The table that a statement names without a schema and that no schema of the search_path contains."""
    found = None
    if isinstance(error, asyncpg.UndefinedTableError):
        found = re.match(_UNDEFINED_TABLE, str(error))
    elif isinstance(error, asyncpg.InsufficientPrivilegeError):
        # The first schema of the search_path is where an unqualified table would be created.
        found = re.match(_CREATED_IN_CATALOG, str(error))
    return found[1] if found else None


def denied_schema(error: BaseException) -> str | None:
    """The schema that the user has no privilege for."""
    found = re.match(_SCHEMA_DENIED, str(error)) if isinstance(error, asyncpg.InsufficientPrivilegeError) else None
    return found[1] if found else None


def without_value(text: str) -> str:
    """asyncpg's message about a parameter that it cannot encode, without the quoted part of the value."""
    return re.sub(_UNENCODABLE, r"\1\2", text)
