"""Transactions with the manager's query methods."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Self

import asyncpg

from ..errors import TransactionError
from .asyncpg_errors import FAILURES, is_alive
from .queries import OwnErrors, Queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.transaction import Transaction

    from ..errors import AsyncDBError
    from .connection import Connection


class TransactionManager(Queries):
    """``async with db.transaction() as tx``: commits at the end of the block, rolls back if an exception leaves it.

    A nested ``async with tx.transaction()`` is a savepoint.

    Raises:
        TransactionError: it is used outside its block; or a query failed and the error was caught inside the block, so
            there is nothing to commit. Use a savepoint for a query that may fail.
    """

    def __init__(
        self,
        schema: str | None,
        source: AbstractAsyncContextManager[PoolConnectionProxy[asyncpg.Record]] | None = None,
        connection: PoolConnectionProxy[asyncpg.Record] | None = None,
    ) -> None:
        self._schema = schema
        self._source = source
        self._connection = connection
        self._transaction: Transaction | None = None
        self._had_failure = False

    @property
    def connection(self) -> PoolConnectionProxy[asyncpg.Record]:
        """The asyncpg connection that the transaction runs on."""
        return self._target()

    def transaction(self) -> TransactionManager:
        """A savepoint within this transaction."""
        return TransactionManager(self._schema, connection=self._target())

    def failure(self, error: Exception, sql: str, args: Sequence[object] | None) -> AsyncDBError:
        self._had_failure = True
        return super().failure(error, sql, args)

    def _target(self) -> PoolConnectionProxy[asyncpg.Record]:
        if self._transaction is None:
            raise TransactionError(
                "The transaction is not in progress. Use it inside its block: `async with db.transaction() as tx:`."
            )
        assert self._connection is not None
        return self._connection

    async def __aenter__(self) -> Self:
        if self._transaction is not None:
            raise TransactionError("The transaction is already in progress: call db.transaction() for each block.")
        if self._source is not None:
            self._connection = await self._source.__aenter__()
        assert self._connection is not None
        transaction = self._connection.transaction()
        try:
            await transaction.start()
        except BaseException as error:
            await self._release(type(error), error, error.__traceback__)
            if isinstance(error, FAILURES):
                raise self.failure(error, "BEGIN", ()) from error
            raise
        self._transaction = transaction
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection, transaction = self._target(), self._transaction
        self._transaction = None
        assert transaction is not None
        try:
            if kind is None:
                with OwnErrors(self, "COMMIT", ()):
                    if self._had_failure:
                        await _check_not_aborted(connection, transaction)
                    await transaction.commit()
            elif is_alive(connection):
                # A failed rollback must not hide the error that caused it.
                with suppress(*FAILURES):
                    await transaction.rollback()
        finally:
            await self._release(kind, error, traceback)

    async def _release(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._source is not None:
            self._connection = None
            await self._source.__aexit__(kind, error, traceback)


async def _check_not_aborted(connection: Connection, transaction: Transaction) -> None:
    # The server answers COMMIT in an aborted transaction with ROLLBACK, without an error.
    try:
        await connection.execute("SELECT 1")
    except asyncpg.InFailedSQLTransactionError as error:
        await transaction.rollback()
        raise TransactionError(
            "Nothing was committed: an earlier query of this transaction failed and its error was caught, but the "
            "server had aborted the transaction. Run a query that may fail inside `async with tx.transaction():`."
        ) from error
