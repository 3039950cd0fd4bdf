"""A connection that is lost while it is given back to the pool: the result or the error before is not hidden."""

# ruff: noqa: PT012 - what raises is the end of a block

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from pgdbm import AsyncDatabaseManager, DatabaseConfig, QueryError
from pgdbm.core.connection import in_transaction
from pgdbm.migrations.engine.session import as_role

from ...support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Work = Callable[[AsyncDatabaseManager], Awaitable[Any]]

_FAILING: dict[str, Work] = {
    "execute": lambda db: db.execute("SELECT 1 / 0"),
    "executemany": lambda db: db.executemany("SELECT 1 / $1::int", [(0,)]),
    "fetch_one": lambda db: db.fetch_one("SELECT 1 / 0"),
    "fetch_value": lambda db: db.fetch_value("SELECT 1 / 0"),
    "fetch_all": lambda db: db.fetch_all("SELECT 1 / 0"),
    "copy_records_to_table": lambda db: db.copy_records_to_table("numbers", [(0,)]),
}

_READY_FOR_QUERY = b"Z\0\0\0\5"
# After the first row, which is all that asyncpg asks for.
_PORTAL_SUSPENDED = b"s\0\0\0\4"

# With the end of the server's answer.
_WORKING: dict[str, tuple[Work, bytes]] = {
    "execute": (lambda db: db.execute("INSERT INTO numbers VALUES (1)"), b"INSERT 0 1"),
    "executemany": (lambda db: db.executemany("INSERT INTO numbers VALUES ($1)", [(1,)]), b"INSERT 0 1"),
    "fetch_one": (lambda db: db.fetch_one("INSERT INTO numbers VALUES (1) RETURNING n"), _PORTAL_SUSPENDED),
    "fetch_value": (lambda db: db.fetch_value("INSERT INTO numbers VALUES (1) RETURNING n"), _PORTAL_SUSPENDED),
    "fetch_all": (lambda db: db.fetch_all("INSERT INTO numbers VALUES (1) RETURNING n"), b"INSERT 0 1"),
    "many rows": (
        lambda db: db.fetch_all("INSERT INTO numbers SELECT 1 FROM generate_series(1, 300) RETURNING n"),
        b"INSERT 0 300",
    ),
    "copy_records_to_table": (lambda db: db.copy_records_to_table("numbers", [(1,)]), b"COPY 1"),
}


class _Connection:
    """Whether the connection to the server is lost; it is once the server has answered with ``last_words``."""

    def __init__(self) -> None:
        self.is_lost = False
        self.last_words = b"division by zero"
        self._is_last = False

    def answers(self, sent: bytes) -> Iterator[bytes]:
        if self.is_lost:
            raise ConnectionResetError
        yield sent
        self._is_last = self._is_last or self.last_words in sent
        if self._is_last and sent[:-1].endswith(_READY_FOR_QUERY):
            self.is_lost, self._is_last = True, False


@pytest.fixture(params=[{}, {"transaction_search_path": "public"}], ids=["", "search_path in transactions"])
async def lost(
    request: pytest.FixtureRequest, database: str
) -> AsyncIterator[tuple[AsyncDatabaseManager, _Connection]]:
    connection = _Connection()
    async with Proxy(database, answers=connection.answers) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1, **request.param)
        async with AsyncDatabaseManager(config) as db:
            await db.execute("CREATE TABLE numbers (n int CHECK (1 / n > 0))")
            yield db, connection


@pytest.mark.parametrize("method", list(_FAILING))
async def test_the_error_of_a_query_is_raised(method: str, lost: tuple[AsyncDatabaseManager, _Connection]) -> None:
    db, connection = lost
    with pytest.raises(QueryError, match="division by zero"):
        await _FAILING[method](db)
    assert connection.is_lost
    connection.is_lost = False
    assert await db.fetch_value("SELECT 1") == 1


# With the search_path in transactions, the commit follows.
@pytest.mark.parametrize("lost", [{}], indirect=True)
@pytest.mark.parametrize("method", list(_WORKING))
async def test_the_result_of_a_query_is_returned(method: str, lost: tuple[AsyncDatabaseManager, _Connection]) -> None:
    db, connection = lost
    work, connection.last_words = _WORKING[method]
    await work(db)
    assert connection.is_lost
    connection.is_lost = False
    assert await db.fetch_value("SELECT count(*) FROM numbers") == (300 if method == "many rows" else 1)


@contextlib.asynccontextmanager
async def _in_transaction(db: AsyncDatabaseManager) -> AsyncIterator[Any]:
    async with db.acquire() as connection, in_transaction(connection):
        yield connection


@contextlib.asynccontextmanager
async def _as_role(db: AsyncDatabaseManager) -> AsyncIterator[Any]:
    async with db.acquire() as connection:
        role = await connection.fetchval("SELECT current_user")
        async with as_role(connection, role, of_session=True):
            yield connection


_BLOCKS: dict[str, Callable[[AsyncDatabaseManager], contextlib.AbstractAsyncContextManager[Any]]] = {
    "connection": lambda db: db.acquire(),
    "transaction": lambda db: db.transaction(),
    "transaction of a connection": _in_transaction,
    "role": _as_role,
}


@pytest.mark.parametrize("block", list(_BLOCKS))
async def test_the_error_of_a_block_is_raised(block: str, lost: tuple[AsyncDatabaseManager, _Connection]) -> None:
    db, connection = lost
    with pytest.raises(KeyError, match="mine"):
        async with _BLOCKS[block](db) as acquired:
            await acquired.execute("SELECT 1")
            connection.is_lost = True
            raise KeyError("mine")
    connection.is_lost = False
    assert await db.fetch_value("SELECT 1") == 1


@pytest.mark.parametrize("block", list(_BLOCKS))
async def test_the_cancellation_of_a_block_is_raised(
    block: str, lost: tuple[AsyncDatabaseManager, _Connection]
) -> None:
    db, connection = lost
    is_idle = asyncio.Event()

    async def work() -> None:
        async with _BLOCKS[block](db) as acquired:
            await acquired.execute("SELECT 1")
            is_idle.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await is_idle.wait()
    connection.is_lost = True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    connection.is_lost = False
    assert await db.fetch_value("SELECT 1") == 1


async def test_a_block_without_an_error_ends(lost: tuple[AsyncDatabaseManager, _Connection]) -> None:
    db, connection = lost
    async with db.acquire() as acquired:
        await acquired.execute("INSERT INTO numbers VALUES (1)")
        connection.is_lost = True
    connection.is_lost = False
    assert await db.fetch_value("SELECT count(*) FROM numbers") == 1


async def test_a_commit_without_an_answer_fails(lost: tuple[AsyncDatabaseManager, _Connection]) -> None:
    db, connection = lost
    with pytest.raises(asyncpg.PostgresConnectionError):
        async with _in_transaction(db) as acquired:
            await acquired.execute("INSERT INTO numbers VALUES (1)")
            connection.is_lost = True
