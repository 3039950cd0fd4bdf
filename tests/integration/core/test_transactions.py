"""Transactions: commit, rollback, savepoints, and when they can be used."""

# ruff: noqa: PT012 - what raises is the end of a block

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, ConnectionError, QueryError, TransactionError, TransactionManager

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

INSERT = "INSERT INTO {{tables.marks}} VALUES ($1)"


@pytest.fixture
async def marked(db: AsyncDatabaseManager) -> AsyncDatabaseManager:
    """A manager with an empty table ``marks``, with a unique constraint that is checked at the end of a transaction."""
    await db.execute("CREATE SCHEMA app")
    await db.execute("CREATE TABLE {{tables.marks}} (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, CHECK (id > 0))")
    return db


async def marks(db: AsyncDatabaseManager) -> list[int]:
    return [row["id"] for row in await db.fetch_all("SELECT id FROM {{tables.marks}} ORDER BY id")]


def all_are_released(pool: asyncpg.Pool[Any]) -> bool:
    return pool.get_idle_size() == pool.get_size()


async def test_commits_at_the_end(marked: AsyncDatabaseManager, pool: asyncpg.Pool[Any]) -> None:
    async with marked.transaction() as transaction:
        assert isinstance(transaction, TransactionManager)
        await transaction.execute(INSERT, 1)
        assert await marks(marked) == []
    assert await marks(marked) == [1]
    assert all_are_released(pool)


@pytest.mark.parametrize("error", [KeyError("mine"), StopAsyncIteration(), GeneratorExit(), SystemExit(1)])
async def test_rolls_back_when_an_exception_leaves_it(
    marked: AsyncDatabaseManager, pool: asyncpg.Pool[Any], error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        async with marked.transaction() as transaction:
            await transaction.execute(INSERT, 1)
            raise error
    assert caught.value is error
    assert await marks(marked) == []
    assert all_are_released(pool)


async def test_rolls_back_when_a_query_fails(marked: AsyncDatabaseManager) -> None:
    with pytest.raises(QueryError, match="check constraint"):
        async with marked.transaction() as transaction:
            await transaction.execute(INSERT, 1)
            await transaction.execute(INSERT, -1)
    assert await marks(marked) == []


async def test_a_refused_commit_is_a_transaction_error(marked: AsyncDatabaseManager, pool: asyncpg.Pool[Any]) -> None:
    with pytest.raises(QueryError, match="duplicate key") as caught:
        async with marked.transaction() as transaction:
            await transaction.execute(INSERT, 1)
            await transaction.execute(INSERT, 1)
    assert caught.value.query == "COMMIT"
    assert await marks(marked) == []
    assert all_are_released(pool)


async def test_an_error_that_was_caught_inside_leaves_nothing_to_commit(
    marked: AsyncDatabaseManager, pool: asyncpg.Pool[Any]
) -> None:
    with pytest.raises(TransactionError, match="Nothing was committed"):
        async with marked.transaction() as transaction:
            await transaction.execute(INSERT, 1)
            with pytest.raises(QueryError):
                await transaction.execute(INSERT, -1)
    assert await marks(marked) == []
    assert all_are_released(pool)


async def test_an_error_before_the_server_leaves_the_transaction_usable(marked: AsyncDatabaseManager) -> None:
    async with marked.transaction() as transaction:
        await transaction.execute(INSERT, 1)
        with pytest.raises(QueryError):
            await transaction.execute(INSERT, "one")
    assert await marks(marked) == [1]


class TestSavepoints:
    async def test_commit(self, marked: AsyncDatabaseManager) -> None:
        async with marked.transaction() as outer:
            await outer.execute(INSERT, 1)
            async with outer.transaction() as inner:
                await inner.execute(INSERT, 2)
                async with inner.transaction() as innermost:
                    await innermost.execute(INSERT, 3)
                    assert innermost.connection.get_server_pid() == outer.connection.get_server_pid()
            await outer.execute(INSERT, 4)
        assert await marks(marked) == [1, 2, 3, 4]

    async def test_rolls_back_alone(self, marked: AsyncDatabaseManager) -> None:
        async with marked.transaction() as outer:
            await outer.execute(INSERT, 1)
            with pytest.raises(QueryError):
                async with outer.transaction() as inner:
                    await inner.execute(INSERT, 2)
                    await inner.execute(INSERT, -2)
            with pytest.raises(KeyError):
                async with outer.transaction() as inner:
                    await inner.execute(INSERT, 3)
                    raise KeyError
            await outer.execute(INSERT, 4)
        assert await marks(marked) == [1, 4]

    async def test_an_error_that_was_caught_inside(self, marked: AsyncDatabaseManager) -> None:
        async with marked.transaction() as outer:
            await outer.execute(INSERT, 1)
            with pytest.raises(TransactionError, match="Nothing was committed"):
                async with outer.transaction() as inner:
                    with pytest.raises(QueryError):
                        await inner.execute(INSERT, -2)
            await outer.execute(INSERT, 3)
        assert await marks(marked) == [1, 3]

    async def test_goes_with_its_transaction(self, marked: AsyncDatabaseManager) -> None:
        with pytest.raises(KeyError):
            async with marked.transaction() as outer:
                async with outer.transaction() as inner:
                    await inner.execute(INSERT, 1)
                raise KeyError
        assert await marks(marked) == []


class TestUseOutsideOfTheBlock:
    async def refuses(self, transaction: TransactionManager) -> None:
        for use in (
            transaction.execute("SELECT 1"),
            transaction.executemany("SELECT $1::int", [(1,)]),
            transaction.fetch_one("SELECT 1"),
            transaction.fetch_all("SELECT 1"),
            transaction.fetch_value("SELECT 1"),
            transaction.copy_records_to_table("marks", [(1,)]),
            transaction.table_exists("marks"),
        ):
            with pytest.raises(TransactionError, match="async with"):
                await use
        with pytest.raises(TransactionError):
            _ = transaction.connection
        with pytest.raises(TransactionError):
            transaction.transaction()

    async def test_before(self, marked: AsyncDatabaseManager) -> None:
        await self.refuses(marked.transaction())

    async def test_after_a_commit(self, marked: AsyncDatabaseManager) -> None:
        async with marked.transaction() as transaction:
            async with transaction.transaction() as savepoint:
                pass
            await self.refuses(savepoint)
        await self.refuses(transaction)

    async def test_after_a_rollback(self, marked: AsyncDatabaseManager) -> None:
        transaction = marked.transaction()
        with pytest.raises(KeyError):
            async with transaction:
                raise KeyError
        await self.refuses(transaction)

    async def test_a_transaction_cannot_be_entered_twice(self, marked: AsyncDatabaseManager) -> None:
        async with marked.transaction() as transaction:
            with pytest.raises(TransactionError, match="already in progress"):
                await transaction.__aenter__()
            await transaction.execute(INSERT, 1)
        assert await marks(marked) == [1]

    async def test_never_entered_takes_no_connection(
        self, marked: AsyncDatabaseManager, pool: asyncpg.Pool[Any]
    ) -> None:
        for _ in range(20):
            marked.transaction()
        assert all_are_released(pool)


class TestCancellation:
    async def test_inside(self, marked: AsyncDatabaseManager, pool: asyncpg.Pool[Any]) -> None:
        inserted = asyncio.Event()

        async def work() -> None:
            async with marked.transaction() as transaction:
                await transaction.execute(INSERT, 1)
                inserted.set()
                await transaction.execute("SELECT pg_sleep(60)")

        task = asyncio.create_task(work())
        await inserted.wait()
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await marks(marked) == []
        assert all_are_released(pool)

    async def test_inside_a_savepoint(self, marked: AsyncDatabaseManager) -> None:
        async with marked.transaction() as outer:
            await outer.execute(INSERT, 1)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as limit, outer.transaction() as inner:
                    await inner.execute(INSERT, 2)
                    limit.reschedule(asyncio.get_running_loop().time() + 0.02)
                    await inner.execute("SELECT pg_sleep(60)")
            await outer.execute(INSERT, 3)
        assert await marks(marked) == [1, 3]

    async def test_while_waiting_for_a_connection(self, marked: AsyncDatabaseManager, pool: asyncpg.Pool[Any]) -> None:
        held = [await pool.acquire() for _ in range(pool.get_max_size())]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), marked.transaction():
                pytest.fail("there is no connection left")
        for connection in held:
            await pool.release(connection)
        async with marked.transaction() as transaction:
            await transaction.execute(INSERT, 1)
        assert await marks(marked) == [1]


class TestLostConnections:
    @pytest.mark.parametrize("is_last", [False, True], ids=["inside", "before the commit"])
    async def test_nothing_is_kept(
        self,
        marked: AsyncDatabaseManager,
        pool: asyncpg.Pool[Any],
        connect: Callable[[], AbstractAsyncContextManager[Any]],
        is_last: bool,
    ) -> None:
        with pytest.raises(ConnectionError):
            async with marked.transaction() as transaction:
                await transaction.execute(INSERT, 1)
                pid = transaction.connection.get_server_pid()
                async with connect() as other:
                    await other.execute("SELECT pg_terminate_backend($1, 5000)", pid)
                if not is_last:
                    await transaction.execute(INSERT, 2)
        assert await marks(marked) == []
        assert all_are_released(pool)
