"""Transactions with the manager's query methods."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from ..errors import TransactionError
from .pool import is_alive
from .queries import FAILURES, Queries

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from asyncpg.transaction import Transaction


class TransactionManager(Queries):
    """``async with db.transaction() as tx``: commits at the end, rolls back when an exception leaves the block.

    ``async with tx.transaction()`` inside is a savepoint.
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

    @property
    def connection(self) -> Any:
        """The asyncpg connection that the transaction runs on."""
        return self._target()

    def transaction(self) -> TransactionManager:
        """A savepoint within this transaction."""
        return TransactionManager(self._schema, connection=self._target())

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
                    await transaction.commit()
            elif is_alive(self._connection):
                # A rollback that fails must not hide why there is one.
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
