"""The activity of the server, queried through a manager."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..errors import AsyncDBError, MonitoringError
from ..sql import statement

if TYPE_CHECKING:
    from ..core.connection import RowDict
    from ..core.manager import AsyncDatabaseManager

_PROBE_SECONDS = 5.0
_CROWDED_PERCENT = 80.0
_LONG_RUNNING_SECONDS = 300.0


class DatabaseDebugger:
    """Inspects the database of ``db``. It needs no privileges; the queries of other users are visible to members of
    ``pg_read_all_stats`` only."""

    def __init__(self, db: AsyncDatabaseManager) -> None:
        self._db = db

    async def check_connection_health(self) -> RowDict:
        """``{"status", "timestamp", "checks"}``. Does not raise if the server does not respond.

        ``status`` is ``healthy``; ``degraded`` if 80 % of the pool is in use, or if queries block others or take more
        than five minutes; ``unhealthy`` if all connections are in use; ``error`` if the server does not respond.
        ``checks`` has ``connectivity`` (with ``version`` and ``latency_ms``), ``pool``, ``blocking_queries`` and
        ``long_running_queries``, each with a ``status``: ``ok``, ``warning``, ``error`` or ``skipped``.
        """
        # Read before the probe, which acquires a connection itself.
        pool = self._check_pool()
        checks: dict[str, RowDict] = {
            "connectivity": await self._check_connectivity(),
            "pool": pool,
            "blocking_queries": {"status": "skipped", "count": None},
            "long_running_queries": {"status": "skipped", "count": None},
        }
        if checks["connectivity"]["status"] == "ok":
            for name, find in (
                ("blocking_queries", self.find_blocking_queries),
                ("long_running_queries", self.find_long_running_queries),
            ):
                try:
                    async with asyncio.timeout(_PROBE_SECONDS):
                        found = await find()
                except (MonitoringError, TimeoutError) as error:
                    checks[name] = {"status": "error", "count": None, "error": _words(error)}
                else:
                    checks[name] = {"status": "warning" if found else "ok", "count": len(found), "queries": found}
        return {"status": _verdict(checks), "timestamp": datetime.now(UTC), "checks": checks}

    async def find_blocking_queries(self) -> list[RowDict]:
        """Sessions of this database that wait for a lock, and what blocks them, longest wait first.

        Columns: blocked_pid, blocked_user, blocked_application_name, blocked_query, blocked_seconds, blocked_state,
        blocked_transaction_seconds, blocking_pid, blocking_user, blocking_application_name, blocking_state,
        blocking_transaction_seconds, blocking_query.

        Raises:
            MonitoringError: the query failed.
        """
        return await self._ask("blocking_queries")

    async def find_long_running_queries(self, threshold_seconds: float = _LONG_RUNNING_SECONDS) -> list[RowDict]:
        """Queries and idle transactions of this database that started ``threshold_seconds`` ago or earlier, longest
        first: pid, user, application_name, state, query, started_at, duration_seconds.

        Raises:
            MonitoringError: the query failed.
        """
        return await self._ask("long_running_queries", float(threshold_seconds))

    async def analyze_table_sizes(self) -> list[RowDict]:
        """The tables of the manager's schema, or of all user schemas if it is None, largest first:
        schema, table, row_estimate (-1 before the first ANALYZE), table_bytes, index_bytes, total_bytes, total_size,
        and under the names of 0.5: tablename, size_bytes (as total_bytes), row_count (live rows by the statistics).

        Raises:
            MonitoringError: the query failed.
        """
        return await self._ask("table_sizes", self._db.schema)

    async def _ask(self, name: str, *args: object) -> list[RowDict]:
        try:
            return await self._db.fetch_all(statement("monitoring", name), *args)
        except AsyncDBError as error:
            raise MonitoringError(f"The query for {name.replace('_', ' ')} failed: {error}") from error

    def _check_pool(self) -> RowDict:
        pool = self._db.pool
        if pool is None:
            return {"status": "error", "error": "not connected"}
        size, most = pool.get_size(), pool.get_max_size()
        used = size - pool.get_idle_size()
        percent = 100.0 * used / most
        status = "ok" if percent < _CROWDED_PERCENT else "warning" if used < most else "error"
        return {"status": status, "size": size, "used": used, "max_size": most, "utilization": percent}

    async def _check_connectivity(self) -> RowDict:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                version = await self._db.fetch_value("SELECT pg_catalog.version()")
        except (AsyncDBError, TimeoutError) as error:
            return {"status": "error", "error": _words(error)}
        return {"status": "ok", "latency_ms": (time.perf_counter() - started) * 1000.0, "version": version}


def _words(error: BaseException) -> str:
    return str(error) or f"no answer within {_PROBE_SECONDS:g} s"


def _verdict(checks: dict[str, RowDict]) -> str:
    pool = checks["pool"]
    if "used" in pool and pool["status"] == "error":
        return "unhealthy"
    if checks["connectivity"]["status"] == "error":
        return "error"
    return "healthy" if all(check["status"] == "ok" for check in checks.values()) else "degraded"
