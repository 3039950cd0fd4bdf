"""The query methods that a manager and a transaction share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import AsyncDBError, ConnectionError, PoolError, QueryError, SchemaError
from ..text import sentence
from .asyncpg_errors import (
    FAILURES,
    as_both,
    copy_fields,
    denied_schema,
    is_lost,
    is_pool_closed,
    lost_message,
    unqualified_table,
)
from .masking import mask_error, mask_parameters
from .templating import TemplateError, check_identifier, is_identifier, render_query

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    import asyncpg

    from .connection import Executor, RowDict


def with_returning_id(sql: str) -> str:
    """``sql`` with ``RETURNING id`` appended, unless the statement has a RETURNING clause.

    The word does not count in a string, a comment, a name or a subquery. The clause is also appended to SQL with a
    syntax error, which the server then reports.
    """
    if "returning" not in sql.lower() and ";" not in sql:
        return f"{sql}\nRETURNING id"
    return _parsed_with_returning_id(sql)


@lru_cache(maxsize=256)
def _parsed_with_returning_id(sql: str) -> str:
    from ..pgparse.parse import SQLParseError, parse_tree  # imported lazily: few queries need it

    try:
        statements = parse_tree(sql)
    except SQLParseError:
        return f"{sql}\nRETURNING id"
    if len(statements) != 1:
        return sql
    raw = statements[0]
    node = getattr(raw.stmt, raw.stmt.WhichOneof("node"))
    # The node of a statement that cannot have the clause lacks the field.
    if "returning_clause" not in node.DESCRIPTOR.fields_by_name or node.HasField("returning_clause"):
        return sql
    encoded = sql.encode()
    end = raw.stmt_location + raw.stmt_len if raw.stmt_len else len(encoded)
    return encoded[:end].decode() + "\nRETURNING id"


def as_dicts(rows: Sequence[asyncpg.Record]) -> list[RowDict]:
    """asyncpg's records as dicts."""
    return dicts_of(tuple(rows[0].keys()))(rows) if rows else []


@lru_cache(maxsize=512)
def dicts_of(names: tuple[str, ...]) -> Callable[[Iterable[Any]], list[RowDict]]:
    """A function that turns records with the columns ``names`` into dicts.

    Its source is generated for the columns, as namedtuple does: it takes half the time of ``dict(record)``, which would
    be 10 to 15 % of a query that returns 100 rows or more. Names are inserted as literals, so a column may have any
    name; of two columns with the same name the last wins, as with ``dict``.
    """
    display = ", ".join(f"{name!r}: row[{index}]" for index, name in enumerate(names))
    made: Callable[[Iterable[Any]], list[RowDict]] = eval(f"lambda rows: [{{{display}}} for row in rows]")  # noqa: S307
    return made


_READ_ONLY_TRANSACTION = "25006"
T = TypeVar("T")
Model = TypeVar("Model")

# Raised by asyncpg's encoders for a value of the wrong type; COPY does not convert these to DataError.
_UNENCODABLE = (TypeError, ValueError, AttributeError, ArithmeticError, LookupError)


class Queries(ABC):
    """SQL with ``{{tables.x}}`` templates, sent to a pool or to one connection.

    Every method takes ``timeout`` in seconds, by default the pool's command_timeout; TimeoutError is raised when it
    expires. A query that the server rejects, or a parameter that cannot be encoded, raises a QueryError that is also an
    instance of asyncpg's class, such as ``asyncpg.UniqueViolationError``; asyncpg's own exception is its ``__cause__``.
    """

    _schema: str | None

    @abstractmethod
    def _target(self) -> Executor:
        """The asyncpg pool or connection that runs the queries."""

    async def _on_connection(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """The result of ``work`` with a connection."""
        return await work(self._target())

    def prepare_query(self, query: str) -> str:
        """``query`` with its placeholders replaced for the schema of this manager.

        Raises:
            SchemaError: a placeholder contains an invalid name.
            QueryError: a placeholder does not exist; line and column are in ``details``.
        """
        try:
            return render_query(query, self._schema)
        except TemplateError as error:
            if error.invalid is not None:
                raise SchemaError(f"{error.reason} It is in {error.placeholder}, line {error.line}.") from error
            raise QueryError(
                f"Unknown placeholder {error}",
                query=query,
                original_error=error,
                details={"line": error.line, "column": error.column, "placeholder": error.placeholder},
            ) from error

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Run ``query``; returns the status, such as ``INSERT 0 1``."""
        with self._sending(query, args) as sent:
            status: str = await self._on_connection(
                lambda connection: connection.execute(sent.sql, *args, timeout=timeout)
            )
            sent.rows = status
        return status

    async def executemany(
        self, query: str, args_list: Iterable[Sequence[object]], timeout: float | None = None
    ) -> None:
        """Run ``query`` once for each of ``args_list``, atomically."""
        with self._sending(query, None) as sent:
            await self._on_connection(lambda connection: connection.executemany(sent.sql, args_list, timeout=timeout))

    execute_many = executemany

    async def fetch_one(self, query: str, *args: object, timeout: float | None = None) -> RowDict | None:
        """The first row, or None."""
        with self._sending(query, args) as sent:
            row = await self._on_connection(lambda connection: connection.fetchrow(sent.sql, *args, timeout=timeout))
            sent.rows = 0 if row is None else 1
        return None if row is None else dict(row)

    async def fetch_all(self, query: str, *args: object, timeout: float | None = None) -> list[RowDict]:
        """Every row."""
        with self._sending(query, args) as sent:
            rows = await self._fetch_dicts(sent.sql, args, timeout)
            sent.rows = len(rows)
        return rows

    async def _fetch_dicts(self, sql: str, args: Sequence[object], timeout: float | None) -> list[RowDict]:
        return as_dicts(await self._target().fetch(sql, *args, timeout=timeout))

    async def fetch_value(self, query: str, *args: object, column: int = 0, timeout: float | None = None) -> Any:
        """One column, counted from 0, of the first row, or None."""
        with self._sending(query, args) as sent:
            row = await self._on_connection(lambda connection: connection.fetchrow(sent.sql, *args, timeout=timeout))
            return None if row is None else row[column]

    fetch_val = fetch_value

    async def execute_and_return_id(self, query: str, *args: object, timeout: float | None = None) -> Any:
        """Run an INSERT, UPDATE or DELETE and return the ``id`` of its first row; None without a row.

        ``RETURNING id`` is appended unless the statement has a RETURNING clause.
        """
        return await self.fetch_value(with_returning_id(self.prepare_query(query)), *args, timeout=timeout)

    async def fetch_as_model(
        self, model: Callable[..., Model], query: str, *args: object, timeout: float | None = None
    ) -> Model | None:
        """The first row as ``model(**columns)``, or None. ``model``: a dataclass, msgspec Struct, pydantic model..."""
        row = await self.fetch_one(query, *args, timeout=timeout)
        return None if row is None else model(**row)

    async def fetch_all_as_model(
        self, model: Callable[..., Model], query: str, *args: object, timeout: float | None = None
    ) -> list[Model]:
        """Every row as ``model(**columns)``."""
        return [model(**row) for row in await self.fetch_all(query, *args, timeout=timeout)]

    async def copy_records_to_table(
        self,
        table: str,
        records: Iterable[Sequence[object]],
        columns: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> int:
        """COPY ``records`` into ``table`` of the manager's schema; returns the number of rows.

        Raises:
            ValueError: ``table`` is not a plain, unqualified name.
        """
        if not is_identifier(table):
            raise ValueError(
                f"copy_records_to_table takes an unqualified table name, not {table!r}: the table is in the manager's "
                f"schema. For another schema, create a manager for it."
            )
        raised_by_records: list[Exception] = []
        with self._sending(f"COPY {table}", None) as sent:
            try:
                status: str = await self._on_connection(
                    lambda connection: connection.copy_records_to_table(
                        table,
                        records=records if _cannot_raise(records) else _watched(records, raised_by_records),
                        columns=columns,
                        schema_name=self._schema,
                        timeout=timeout,
                    )
                )
            except _UNENCODABLE as error:
                if error in raised_by_records or isinstance(error, FAILURES):
                    raise
                raise self.failure(error, sent.sql, None) from error
            sent.rows = count = int(status.rpartition(" ")[2])
        return count

    async def table_exists(self, table_name: str) -> bool:
        """Whether a table, partitioned or foreign table ``name`` or ``schema.name`` exists.

        Without a schema it is looked up in the manager's schema, or in ``public`` if that is None.
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

    def _sending(self, query: str, args: Sequence[object] | None) -> AbstractContextManager[SentQuery]:
        """Called around each query of these methods, once."""
        return SentQuery(self, query, args)

    def failure(self, error: Exception, sql: str, args: Sequence[object] | None) -> AsyncDBError:
        """The library's exception for ``error``; ``args`` None: the parameters are not known.

        It is an instance of the class of ``error``, too, so that code written for asyncpg catches it.
        """
        if isinstance(error, AsyncDBError):
            return error
        if is_lost(error):
            return as_both(ConnectionError, error)(lost_message(error), {"error_type": type(error).__name__})
        if is_pool_closed(error):
            reason = sentence(f"The pool is closed: {error}")
            return as_both(PoolError, error)(f"{reason} Call connect() before queries and close() after them.")
        masked = mask_parameters(args or ())
        parameters = f"\nParameters: {masked!r}" if masked else ""
        failure = as_both(QueryError, error)(
            f"Query failed: {mask_error(error, args)}{self._advice(error)}{parameters}",
            query=sql,
            params=masked,
            original_error=error,
            details={"sqlstate": getattr(error, "sqlstate", None)},
        )
        copy_fields(error, failure)
        return failure

    def _advice(self, error: Exception) -> str:
        if getattr(error, "sqlstate", None) == _READ_ONLY_TRANSACTION:
            return (
                "\nThe server is a standby, or the transaction, the role or the database is set to read-only "
                "(default_transaction_read_only)."
            )
        table = unqualified_table(error)
        if table is not None and self._schema is not None:
            return (
                f"\nWrite {{{{tables.{table}}}}} instead of {table}: an unqualified name is looked up in the "
                f"search_path of the connection, which does not contain the manager's schema on a shared pool."
            )
        schema = denied_schema(error)
        if schema is not None:
            return f"\nGrant the user of the connection the privileges: GRANT CREATE, USAGE ON SCHEMA {schema} TO ..."
        return ""


class OwnErrors:
    """Converts asyncpg's exceptions in a block. It takes half the time of a generator, which matters for every
    query."""

    __slots__ = ("_args", "_queries", "sql")

    def __init__(self, queries: Queries, sql: str, args: Sequence[object] | None) -> None:
        self._queries = queries
        self.sql = sql
        self._args = args

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None or not isinstance(error, FAILURES):
            return
        # An operating system timeout has an errno and means a lost connection. Others are the caller's.
        if isinstance(error, TimeoutError) and error.errno is None:
            return
        raise self._queries.failure(error, self.sql, self._args) from error


class AllErrors(OwnErrors):
    """Converts timeouts, too: for queries that the caller has not written, and has set no time limit for."""

    __slots__ = ()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, FAILURES):
            raise self._queries.failure(error, self.sql, self._args) from error


class SentQuery(OwnErrors):
    """A query in the block that sends it: ``sql`` is rendered.

    ``rows``: the number of rows, or the server's status, which ends with that number; None if it is not reported.
    """

    __slots__ = ("rows",)

    rows: int | str | None

    def __enter__(self) -> Self:
        self.rows = None
        self.sql = self._queries.prepare_query(self.sql)
        return self


def _cannot_raise(records: Iterable[Sequence[object]]) -> bool:
    """Whether iterating over ``records`` cannot raise anything that could be mistaken for an encoder's error."""
    return isinstance(records, list | tuple) or hasattr(records, "__aiter__")


def _watched(records: Iterable[Sequence[object]], raised: list[Exception]) -> Iterator[Sequence[object]]:
    try:
        yield from records
    except Exception as error:
        raised.append(error)
        raise
