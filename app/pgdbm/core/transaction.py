"""Transactions with the manager's query methods."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import asyncpg

from ..errors import TransactionError
from .pool import is_alive
from .queries import FAILURES, Queries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from asyncpg.transaction import Transaction

    from ..errors import AsyncDBError


class TransactionManager(Queries):
    """``async with db.transaction() as tx``: commits at the end, rolls back when an exception leaves the block.

    ``async with tx.transaction()`` inside is a savepoint.

    Raises:
        TransactionError: used outside of its block; or the server refused a query, that error was caught inside of the
            block, and so there was nothing left to commit. Put a query that may fail into a savepoint of its own.
    """

    def __init__(
        self,
        schema: str | None,
        source: AbstractAsyncContextManager[Any] | None = None,
        connection: Any = None,
    ) -> None:
        self._schema = schema
        self._source = source
        self._connection: Any = connection
        self._transaction: Transaction | None = None
        self._had_failure = False

    @property
    def connection(self) -> Any:
        """The asyncpg connection that the transaction runs on."""
        return self._target()

    def transaction(self) -> TransactionManager:
        """A savepoint within this transaction."""
        return TransactionManager(self._schema, connection=self._target())

    def failure(self, error: Exception, sql: str, args: Sequence[Any] | None) -> AsyncDBError:
        self._had_failure = True
        return super().failure(error, sql, args)

    def _target(self) -> Any:
        if self._transaction is None:
            raise TransactionError(
                "This transaction has not begun or is over: use it inside `async with db.transaction() as tx:`."
            )
        return self._connection

    async def __aenter__(self) -> Self:
        if self._transaction is not None:
            raise TransactionError("This transaction has begun already: call db.transaction() for each block.")
        if self._source is not None:
            self._connection = await self._source.__aenter__()
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
        transaction, self._transaction = self._transaction, None
        assert transaction is not None
        try:
            if kind is None:
                with self._own_errors("COMMIT", ()):
                    if self._had_failure:
                        await self._check_not_aborted(transaction)
                    await transaction.commit()
            elif is_alive(self._connection):
                # A rollback that fails must not hide why there is one.
                with suppress(*FAILURES):
                    await transaction.rollback()
        finally:
            await self._release(kind, error, traceback)

    async def _check_not_aborted(self, transaction: Transaction) -> None:
        # To COMMIT in an aborted transaction the server answers ROLLBACK, without an error.
        try:
            await self._connection.execute("SELECT 1")
        except asyncpg.InFailedSQLTransactionError as error:
            await transaction.rollback()
            raise TransactionError(
                "Nothing was committed: an earlier query of this transaction failed and its error was caught, but the "
                "server had aborted the transaction. Put a query that may fail into `async with tx.transaction():`."
            ) from error

    async def _release(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._source is not None:
            self._connection = None
            await self._source.__aexit__(kind, error, traceback)
