"""Errors of configuration, connections, queries and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Fields = dict[str, Any]
"""Fields of an error by name; JSON-serializable."""


def with_hint(message: str, hint: str | None) -> str:
    """``message``, and ``hint`` on a line of its own."""
    return f"{message}\nHint: {hint}" if hint else message


class AsyncDBError(Exception):
    """Base class. ``details`` never holds a password or an unmasked DSN."""

    def __init__(self, message: str, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: Fields = dict(details or {})

    def fields(self) -> Fields:
        """The error as data, with the names that the command line and the service use in JSON.

        Values are JSON-serializable; None where a value is not known.
        """
        return {}

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, copying an exception, or passing it to another process, calls its class with ``args``.
        return restored, (type(self), self.args, self.__dict__)


def restored(kind: type[AsyncDBError], args: tuple[object, ...], values: Fields) -> AsyncDBError:
    """The copy of an error, without calling its constructor."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(values)
    return error


class ConfigurationError(AsyncDBError):
    """A setting is missing or invalid, or contradicts another one."""

    def __init__(
        self, message: str, config_field: str | None = None, details: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message, details)
        self.config_field = config_field

    def fields(self) -> Fields:
        return {"key": self.config_field}


_TIPS = "Troubleshooting tips"
CHECK_SERVER = "Check if PostgreSQL is running, if host and port are correct, and if a firewall blocks the connection."


class ConnectionError(AsyncDBError):  # noqa: A001 - the name is part of the public contract
    """The server could not be reached, or it refused the connection.

    With ``host``, the message ends with the address and, unless it contains advice already, with what to check.
    """

    def __init__(
        self,
        message: str,
        details: Mapping[str, object] | None = None,
        *,
        host: str | None = None,
        port: int | str | None = None,
        database: str | None = None,
        attempts: int | None = None,
    ) -> None:
        given = {"host": host, "port": port, "database": database, "attempts": attempts}
        if host is not None:
            place = f"{host}:{port}" if port is not None else host
            if place not in message:
                message += f"\nServer: {place}" + (f", database {database}" if database is not None else "")
            if _TIPS not in message:
                message += f"\n{_TIPS}: {CHECK_SERVER}"
        known = {name: value for name, value in given.items() if value is not None}
        super().__init__(message, {**known, **(details or {})})
        self.host = host
        self.port = port
        self.database = database
        self.attempts = attempts

    def fields(self) -> Fields:
        return dict(self.details)


class PoolError(AsyncDBError):
    """There is no pool, it is closed, or it belongs to the caller."""

    def fields(self) -> Fields:
        return dict(self.details)


class SchemaError(AsyncDBError):
    """A name is not a plain PostgreSQL identifier, or the schema cannot be used."""

    def __init__(self, message: str, schema: str | None = None, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message, details)
        self.schema = schema

    def fields(self) -> Fields:
        return {"schema": self.schema}


_LONGEST_SHOWN_QUERY = 100


class QueryError(AsyncDBError):
    """The server rejected a query, or a parameter could not be encoded. The message ends with the query, shortened.

    ``params`` are masked: strings of more than 20 characters and all bytes are replaced. asyncpg's exception is
    ``original_error`` and ``__cause__``.
    """

    def __init__(
        self,
        message: str,
        query: str | None = None,
        params: Sequence[object] | None = None,
        original_error: BaseException | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        if query is not None and query not in message:
            shown = query if len(query) <= _LONGEST_SHOWN_QUERY else query[:_LONGEST_SHOWN_QUERY] + "..."
            message += f"\nQuery: {shown}"
        super().__init__(message, details)
        self.query = query
        self.params = params
        self.original_error = original_error

    def fields(self) -> Fields:
        original = self.original_error
        return {"sqlstate": getattr(original, "sqlstate", None), "database_message": str(original or "")}


class TransactionError(AsyncDBError):
    """A transaction was used outside its block, or had nothing left to commit."""


class DatabaseTestError(AsyncDBError):
    """A test database could not be created, filled or dropped."""


class MonitoringError(AsyncDBError):
    """A measurement could not be taken."""
