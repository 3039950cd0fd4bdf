"""A connection that is lost while it is given back to the pool: what was raised before is not hidden."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, DatabaseConfig, QueryError

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


class _Connection:
    """Whether the connection to the server is lost; it is after the server has reported a division by zero."""

    def __init__(self) -> None:
        self.is_lost = False
        self._has_failed = False

    def answers(self, sent: bytes) -> Iterator[bytes]:
        if self.is_lost:
            raise ConnectionResetError
        yield sent
        self._has_failed = self._has_failed or b"division by zero" in sent
        if self._has_failed and sent[:-1].endswith(_READY_FOR_QUERY):
            self.is_lost, self._has_failed = True, False


@pytest.fixture
async def lost(database: str) -> AsyncIterator[tuple[AsyncDatabaseManager, _Connection]]:
    connection = _Connection()
    async with Proxy(database, answers=connection.answers) as proxy:
        config = DatabaseConfig(connection_string=proxy.dsn, min_connections=1, max_connections=1)
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


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_cancellation_is_raised(in_transaction: bool, lost: tuple[AsyncDatabaseManager, _Connection]) -> None:
    db, connection = lost
    is_idle = asyncio.Event()

    async def work() -> None:
        async with db.transaction() if in_transaction else db.acquire() as acquired:
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
