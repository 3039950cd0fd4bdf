"""Connections: their types, and functions that work on any of them."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..sql import statement
from .asyncpg_errors import FAILURES
from .lru import LRUCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from asyncpg import Record
    from asyncpg.cursor import CursorFactory
    from asyncpg.prepared_stmt import PreparedStatement
    from asyncpg.transaction import Transaction
    from asyncpg.types import ServerVersion


RowDict = dict[str, Any]
"""A row as a dict of its columns."""


_recent: LRUCache[str, None] = LRUCache(64)

UTF8 = frozenset({"UTF8", "UTF-8", "utf8", "utf-8", "UNICODE", "unicode"})
"""How servers and poolers report that the encoding of a session is UTF-8."""


class Row(Protocol):
    """A row with its values by column name: asyncpg's record, or a dict."""

    def __getitem__(self, column: str, /) -> Any: ...


class Executor(Protocol):
    """The query methods that asyncpg's pools and connections have in common.

    ``timeout`` is in seconds. A :class:`TimeoutError` is raised when it expires.
    """

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str: ...

    async def executemany(
        self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None
    ) -> None: ...

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[Record]: ...

    async def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Record | None: ...

    async def fetchval(self, query: str, *args: object, column: int = 0, timeout: float | None = None) -> Any: ...

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[Sequence[object]],
        columns: Iterable[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
    ) -> str: ...


class Connection(Executor, Protocol):
    """One session: ``asyncpg.Connection``, or the proxy for it that a pool hands out."""

    def transaction(
        self,
        *,
        isolation: Literal["read_committed", "read_uncommitted", "repeatable_read", "serializable"] | None = None,
        readonly: bool = False,
        deferrable: bool = False,
    ) -> Transaction: ...

    def is_in_transaction(self) -> bool: ...

    async def prepare(self, query: str, *, name: str | None = None) -> PreparedStatement[Record]: ...

    def cursor(
        self, query: str, *args: object, prefetch: int | None = None, timeout: float | None = None
    ) -> CursorFactory[Record]: ...

    def get_server_pid(self) -> int: ...

    def get_server_version(self) -> ServerVersion: ...

    def get_reset_query(self) -> str: ...

    def get_settings(self) -> Any: ...

    async def reload_schema_state(self) -> None: ...

    def is_closed(self) -> bool: ...

    async def close(self, *, timeout: float | None = None) -> None: ...

    def terminate(self) -> None: ...


@asynccontextmanager
async def in_transaction(connection: Connection) -> AsyncIterator[None]:
    """Run the block in a transaction or, if one is in progress, in a savepoint.

    With asyncpg's own block, a failed rollback would hide the error that caused it, which may be a cancellation.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    except BaseException:
        with suppress(*FAILURES):
            await transaction.rollback()
        raise
    await transaction.commit()


def savepoint(connection: Connection) -> AbstractAsyncContextManager[object]:
    """A block whose error does not abort the transaction of ``connection``, if one is in progress."""
    return in_transaction(connection) if connection.is_in_transaction() else nullcontext()


async def fetch_once(connection: Connection, query: str, *args: object) -> list[Record]:
    """The rows of ``query``, which the session does not keep as a prepared statement.

    Meant for statements with the name of a schema, in a session that works on many schemas: whenever a catalog changes,
    each session of the database checks all of its prepared statements.
    """
    if hasattr(connection, "search_path"):
        # Through a transaction pooler nothing is kept, and only in a transaction has the query this search_path.
        return await connection.fetch(query, *args)
    statement = await connection.prepare(query, name="")
    return await statement.fetch(*args)


async def fetch_prepared_later(connection: Connection, query: str, *args: object) -> list[Record]:
    """:func:`fetch_once`, but a session keeps the statement if this process has executed it before, as one of its
    last 64 such statements. That saves a round trip, and the server parses it once."""
    is_repeated = query in _recent
    rows = await (connection.fetch(query, *args) if is_repeated else fetch_once(connection, query, *args))
    _recent.put(query, None)
    return rows


async def is_pooled(connection: Connection) -> bool:
    """Whether ``connection`` goes through a pooler, in any mode: its backend is not the one that was announced."""
    return bool(await connection.fetchval(statement("database", "backend")) != connection.get_server_pid())
