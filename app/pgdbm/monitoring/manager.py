"""A manager that measures its queries."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from ..core.manager import AsyncDatabaseManager
from ..core.queries import Queries
from ..core.transaction import TransactionManager
from .metrics import ConnectionMetrics, QueryMetrics, QueryRecorder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import asyncpg

    from ..core.config import DatabaseConfig
    from ..core.connection import RowDict
    from ..core.queries import SentQuery
    from ..errors import AsyncDBError

_ROW_COUNT = re.compile(r" (\d+)\Z")


class _MonitoredQueries(Queries):
    _recorder: QueryRecorder

    @contextlib.contextmanager
    def _sending(self, query: str, args: Sequence[object] | None) -> Iterator[SentQuery]:
        with self._recorder.measure(query, args) as measured, super()._sending(query, args) as sent:
            yield sent
            measured.rows = _number_of(sent.rows)


class _MonitoredTransactionManager(_MonitoredQueries, TransactionManager):
    """A transaction manager, measured."""

    def __init__(self, inner: TransactionManager, schema: str | None, recorder: QueryRecorder) -> None:
        super().__init__(schema)
        self._inner = inner
        self._recorder = recorder

    def transaction(self) -> TransactionManager:
        return _MonitoredTransactionManager(self._inner.transaction(), self._schema, self._recorder)

    def failure(self, error: Exception, sql: str, args: Sequence[object] | None) -> AsyncDBError:
        return self._inner.failure(error, sql, args)

    def _target(self) -> Any:
        return self._inner.connection

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, traceback)


def _number_of(rows: int | str | None) -> int | None:
    if isinstance(rows, str):
        count = _ROW_COUNT.search(rows)
        return int(count[1]) if count else None
    return rows


class _RollBackError(Exception):
    """Raised to roll back the transaction of a block."""


class MonitoredAsyncDatabaseManager(_MonitoredQueries, AsyncDatabaseManager):
    """An AsyncDatabaseManager that counts and times all queries, including those of its transactions.

    Queries on a raw connection (``acquire()``, ``transaction().connection``) are not measured. Queries that take
    ``slow_query_threshold_ms`` or more are logged as warnings by the logger ``pgdbm.monitoring``. The last
    ``max_history_size`` queries are kept, with masked parameters if ``record_args`` is set.

    Raises:
        ConfigurationError: as for AsyncDatabaseManager; also for a negative threshold or size.
    """

    def __init__(
        self,
        config: DatabaseConfig | None = None,
        pool: asyncpg.Pool[Any] | None = None,
        schema: str | None = None,
        slow_query_threshold_ms: float = 1000,
        max_history_size: int = 1000,
        record_args: bool = False,
    ) -> None:
        super().__init__(config, pool, schema)
        self._recorder = QueryRecorder(slow_query_threshold_ms, max_history_size, record_args)

    def transaction(self) -> TransactionManager:
        return _MonitoredTransactionManager(super().transaction(), self._schema, self._recorder)

    async def get_metrics(self) -> ConnectionMetrics:
        """The current state of the pool, and the queries since this manager was created. Sends no query; the sizes are
        0 while not connected."""
        pool, recorder = self._pool, self._recorder
        size = pool.get_size() if pool else 0
        free = pool.get_idle_size() if pool else 0
        return ConnectionMetrics(
            timestamp=datetime.now(UTC),
            pool_size=size,
            pool_free=free,
            pool_used=size - free,
            pool_min=pool.get_min_size() if pool else 0,
            pool_max=pool.get_max_size() if pool else 0,
            queries_executed=recorder.executed,
            queries_failed=recorder.failed,
            avg_query_time_ms=recorder.total_ms / recorder.executed if recorder.executed else 0.0,
            slowest_query_ms=recorder.slowest_ms,
        )

    def get_query_history(self, limit: int | None = None, include_errors: bool = True) -> list[QueryMetrics]:
        """The last ``limit`` queries of the history, or all of them, oldest first."""
        queries = [query for query in self._recorder.history if include_errors or query.error is None]
        return queries if limit is None else queries[max(len(queries) - limit, 0) :]

    def get_slow_queries(self, threshold_ms: float | None = None) -> list[QueryMetrics]:
        """The queries of the history that took ``threshold_ms`` or more, by default the manager's; slowest first."""
        threshold = self._recorder.threshold_ms if threshold_ms is None else threshold_ms
        slow = [query for query in self._recorder.history if query.duration_ms >= threshold]
        return sorted(slow, key=lambda query: query.duration_ms, reverse=True)

    async def explain_query(self, query: str, *args: object, analyze: bool = False) -> list[RowDict]:
        """The plan, as a row ``{"QUERY PLAN": line}`` for each line. The call is not counted as a query.

        ``analyze`` runs the statement in a transaction that is rolled back. Effects that are not transactional, such as
        the use of a sequence, remain.

        Raises:
            QueryError: the server rejected it, or it contains more than one statement.
        """
        explain = "EXPLAIN (ANALYZE, BUFFERS)" if analyze else "EXPLAIN"
        plan: list[RowDict] = []
        try:
            # Always in a transaction, because the text may begin with ANALYZE.
            async with super().transaction() as transaction:
                plan = await transaction.fetch_all(f"{explain} {query}", *args)
                raise _RollBackError
        except _RollBackError:
            return plan
