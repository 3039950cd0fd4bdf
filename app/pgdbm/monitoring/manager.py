"""A manager that measures its queries."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from ..core.manager import AsyncDatabaseManager
from ..core.queries import Queries
from ..core.transaction import TransactionManager
from .metrics import ConnectionMetrics, QueryMetrics, QueryRecorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    import asyncpg

    from ..core.config import DatabaseConfig
    from ..errors import AsyncDBError

_ROW_COUNT = re.compile(r" (\d+)\Z")


class _MonitoredQueries(Queries):
    """The query methods, measured. Those that are not here are made of those that are."""

    _recorder: QueryRecorder

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        with self._recorder.measure(query, args) as measured:
            status = await super().execute(query, *args, timeout=timeout)
            count = _ROW_COUNT.search(status)
            measured.rows = int(count[1]) if count else None
            return status

    async def executemany(self, query: str, args_list: Iterable[Sequence[Any]], timeout: float | None = None) -> None:
        with self._recorder.measure(query, None):
            await super().executemany(query, args_list, timeout=timeout)

    execute_many = executemany

    async def fetch_one(self, query: str, *args: Any, timeout: float | None = None) -> dict[str, Any] | None:
        with self._recorder.measure(query, args) as measured:
            row = await super().fetch_one(query, *args, timeout=timeout)
            measured.rows = int(row is not None)
            return row

    async def fetch_all(self, query: str, *args: Any, timeout: float | None = None) -> list[dict[str, Any]]:
        with self._recorder.measure(query, args) as measured:
            rows = await super().fetch_all(query, *args, timeout=timeout)
            measured.rows = len(rows)
            return rows

    async def fetch_value(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        with self._recorder.measure(query, args):
            return await super().fetch_value(query, *args, column=column, timeout=timeout)

    fetch_val = fetch_value

    async def copy_records_to_table(
        self,
        table: str,
        records: Iterable[Sequence[Any]],
        columns: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> int:
        with self._recorder.measure(f"COPY {table}", None) as measured:
            measured.rows = await super().copy_records_to_table(table, records, columns, timeout)
            return measured.rows


class _MonitoredTransactionManager(_MonitoredQueries, TransactionManager):
    """Another transaction manager, measured."""

    def __init__(self, inner: TransactionManager, schema: str | None, recorder: QueryRecorder) -> None:
        super().__init__(schema)
        self._inner = inner
        self._recorder = recorder

    def transaction(self) -> TransactionManager:
        return _MonitoredTransactionManager(self._inner.transaction(), self._schema, self._recorder)

    def failure(self, error: Exception, sql: str, args: Any) -> AsyncDBError:
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


class _RollBackError(Exception):
    """Leaves a transaction's block without an effect."""


class MonitoredAsyncDatabaseManager(_MonitoredQueries, AsyncDatabaseManager):
    """AsyncDatabaseManager that counts and times every query, those of its transactions included.

    What goes over a raw connection (``acquire()``, ``transaction().connection``) is not seen. Queries of
    ``slow_query_threshold_ms`` and more are logged as warnings by the logger ``pgdbm.monitoring``. The last
    ``max_history_size`` queries are remembered, with their masked parameters if ``record_args``.

    Raises:
        ConfigurationError: as AsyncDatabaseManager, and for a negative threshold or size.
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
        """The pool now, and the queries since this manager was made. Sends nothing; the sizes are 0 while not
        connected."""
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
        """The last ``limit`` queries that are remembered (None: all), oldest first."""
        queries = [query for query in self._recorder.history if include_errors or query.error is None]
        return queries if limit is None else queries[max(len(queries) - limit, 0) :]

    def get_slow_queries(self, threshold_ms: float | None = None) -> list[QueryMetrics]:
        """The remembered queries that took ``threshold_ms`` (None: the manager's own) or more, slowest first."""
        threshold = self._recorder.threshold_ms if threshold_ms is None else threshold_ms
        slow = [query for query in self._recorder.history if query.duration_ms >= threshold]
        return sorted(slow, key=lambda query: query.duration_ms, reverse=True)

    async def explain_query(self, query: str, *args: Any, analyze: bool = False) -> list[dict[str, Any]]:
        """The plan: a row ``{"QUERY PLAN": line}`` for each of its lines. It is not counted as a query.

        ``analyze`` runs the statement, in a transaction that is rolled back. What no rollback undoes, such as the
        numbers taken from a sequence, stays.

        Raises:
            QueryError: the server refused the statement, or it is more than one.
        """
        explain = "EXPLAIN (ANALYZE, BUFFERS)" if analyze else "EXPLAIN"
        plan: list[dict[str, Any]] = []
        try:
            # In a transaction either way, since the text may begin with an ANALYZE of its own.
            async with super().transaction() as transaction:
                plan = await transaction.fetch_all(f"{explain} {query}", *args)
                raise _RollBackError
        except _RollBackError:
            return plan
