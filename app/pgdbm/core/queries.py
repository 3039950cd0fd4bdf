"""The query methods that a manager and a transaction share."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from ..errors import AsyncDBError, ConnectionError, PoolError, QueryError
from .identifiers import check_identifier, is_identifier
from .masking import mask_error, mask_parameters
from .pool import is_lost
from .returning import with_returning_id
from .rows import as_dicts
from .templating import TemplateError, render_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

Model = TypeVar("Model")

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# What asyncpg's encoders raise for a value of a wrong type; in a COPY it comes through as it is.
_UNENCODABLE = (TypeError, ValueError, AttributeError, ArithmeticError, LookupError)

_UNQUALIFIED = re.compile(r'relation "(\w+)" does not exist')


class Queries(ABC):
    """SQL with ``{{tables.x}}`` templates, sent to a pool or to one connection.

    Every method takes ``timeout`` in seconds; None means the pool's command_timeout, and TimeoutError is raised when
    it is over. What the server or the encoding of a parameter refuses is a QueryError whose ``__cause__`` is asyncpg's.
    """

    _schema: str | None

    @abstractmethod
    def _target(self) -> Any:
        """What runs the queries: an asyncpg pool or connection; their query methods are the same."""

    def prepare_query(self, query: str) -> str:
        """``query`` with its placeholders rendered for this manager's schema.

        Raises:
            QueryError: a placeholder does not exist; line and column are in ``details``.
        """
        try:
            return render_query(query, self._schema)
        except TemplateError as error:
            raise QueryError(
                f"Unknown placeholder {error}",
                query=query,
                original_error=error,
                details={"line": error.line, "column": error.column, "placeholder": error.placeholder},
            ) from error

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run ``query``; returns the status, such as ``INSERT 0 1``."""
        sql = self.prepare_query(query)
        with self._own_errors(sql, args):
            status: str = await self._target().execute(sql, *args, timeout=timeout)
        return status

    async def executemany(self, query: str, args_list: Iterable[Sequence[Any]], timeout: float | None = None) -> None:
        """Run ``query`` once for each of ``args_list``, all or nothing."""
        sql = self.prepare_query(query)
        with self._own_errors(sql, None):
            await self._target().executemany(sql, args_list, timeout=timeout)

    execute_many = executemany

    async def fetch_one(self, query: str, *args: Any, timeout: float | None = None) -> dict[str, Any] | None:
        """The first row, or None."""
        sql = self.prepare_query(query)
        with self._own_errors(sql, args):
            row = await self._target().fetchrow(sql, *args, timeout=timeout)
        return None if row is None else dict(row)

    async def fetch_all(self, query: str, *args: Any, timeout: float | None = None) -> list[dict[str, Any]]:
        """Every row."""
        sql = self.prepare_query(query)
        with self._own_errors(sql, args):
            return await self._fetch_dicts(sql, args, timeout)

    async def _fetch_dicts(self, sql: str, args: Sequence[Any], timeout: float | None) -> list[dict[str, Any]]:
        return as_dicts(await self._target().fetch(sql, *args, timeout=timeout))

    async def fetch_value(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        """One column (from 0) of the first row, or None."""
        sql = self.prepare_query(query)
        with self._own_errors(sql, args):
            return await self._target().fetchval(sql, *args, column=column, timeout=timeout)

    fetch_val = fetch_value

    async def execute_and_return_id(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        """Run an INSERT, UPDATE or DELETE and return the ``id`` of its first row; None where there was no row.

        ``RETURNING id`` is added unless the statement has a RETURNING of its own.
        """
        return await self.fetch_value(with_returning_id(self.prepare_query(query)), *args, timeout=timeout)

    async def fetch_as_model(
        self, model: Callable[..., Model], query: str, *args: Any, timeout: float | None = None
    ) -> Model | None:
        """The first row as ``model(**columns)``, or None. A dataclass, a msgspec Struct, a pydantic model…"""
        row = await self.fetch_one(query, *args, timeout=timeout)
        return None if row is None else model(**row)

    async def fetch_all_as_model(
        self, model: Callable[..., Model], query: str, *args: Any, timeout: float | None = None
    ) -> list[Model]:
        """Every row as ``model(**columns)``."""
        return [model(**row) for row in await self.fetch_all(query, *args, timeout=timeout)]

    async def copy_records_to_table(
        self,
        table: str,
        records: Iterable[Sequence[Any]],
        columns: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> int:
        """COPY ``records`` into ``table`` of the manager's schema; returns how many rows went in.

        Raises:
            ValueError: ``table`` is not a plain, unqualified name.
        """
        if not is_identifier(table):
            raise ValueError(
                f"copy_records_to_table takes an unqualified table name, not {table!r}: the rows go to the manager's "
                f"schema. For another schema use a manager that is bound to it."
            )
        raised_by_records: list[Exception] = []
        with self._own_errors(f"COPY {table}", None):
            try:
                status: str = await self._target().copy_records_to_table(
                    table,
                    records=records if _cannot_raise(records) else _watched(records, raised_by_records),
                    columns=columns,
                    schema_name=self._schema,
                    timeout=timeout,
                )
            except _UNENCODABLE as error:
                if error in raised_by_records or isinstance(error, FAILURES):
                    raise
                raise self.failure(error, f"COPY {table}", None) from error
        return int(status.rpartition(" ")[2])

    async def table_exists(self, table_name: str) -> bool:
        """Whether there is a table (or partitioned table) of that name: ``name`` or ``schema.name``.

        A bare name is looked up in the manager's schema, without one in ``public``.
        """
        schema, dot, name = table_name.rpartition(".")
        if dot:
            check_identifier(schema)
        else:
            schema = self._schema or "public"
        found: bool = await self.fetch_value(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'f'))",
            schema,
            check_identifier(name, "table"),
        )
        return found

    def _own_errors(self, sql: str, args: Sequence[Any] | None) -> _OwnErrors:
        return _OwnErrors(self, sql, args)

    def failure(self, error: Exception, sql: str, args: Sequence[Any] | None) -> AsyncDBError:
        """What ``error`` becomes for our callers; ``args`` None: the parameters are not known."""
        if is_lost(error):
            return ConnectionError(
                f"The connection to the server was lost or refused: {error or type(error).__name__}",
                details={"error_type": type(error).__name__},
            )
        if isinstance(error, asyncpg.InterfaceError) and str(error).startswith("pool is clos"):
            return PoolError(f"The pool is closed: {error}. Call connect() before queries and close() after them.")
        masked = mask_parameters(args or ())
        return QueryError(
            f"Query failed: {mask_error(error, args)}{self._advice(error)}\nQuery: {sql}\nParameters: {masked!r}",
            query=sql,
            params=masked,
            original_error=error,
            details={"sqlstate": getattr(error, "sqlstate", None)},
        )

    def _advice(self, error: Exception) -> str:
        unqualified = _UNQUALIFIED.match(str(error)) if isinstance(error, asyncpg.UndefinedTableError) else None
        if unqualified is None or self._schema is None:
            return ""
        name = unqualified[1]
        return (
            f"\nWrite {{{{tables.{name}}}}} instead of {name}: a bare name is looked up in the search_path of the "
            f"connection, which on a shared pool does not have the manager's schema."
        )


class _OwnErrors:
    """A block in which asyncpg's failures become ours. Half of the time that a generator would take, on every query."""

    __slots__ = ("_args", "_queries", "_sql")

    def __init__(self, queries: Queries, sql: str, args: Sequence[Any] | None) -> None:
        self._queries = queries
        self._sql = sql
        self._args = args

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, FAILURES):
            return
        # The system's timeouts have an errno: those are a lost connection. Ours is the caller's own.
        if isinstance(error, TimeoutError) and error.errno is None:
            return
        raise self._queries.failure(error, self._sql, self._args) from error


def _cannot_raise(records: Iterable[Sequence[Any]]) -> bool:
    """Whether going through ``records`` raises nothing that could be taken for an encoder's."""
    return isinstance(records, list | tuple) or hasattr(records, "__aiter__")


def _watched(records: Iterable[Sequence[Any]], raised: list[Exception]) -> Iterator[Sequence[Any]]:
    try:
        yield from records
    except Exception as error:
        raised.append(error)
        raise
