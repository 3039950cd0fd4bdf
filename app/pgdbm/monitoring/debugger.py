"""What the server is busy with, asked through a manager."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import AsyncDBError, MonitoringError
from ..sql import statement

if TYPE_CHECKING:
    from ..core.manager import AsyncDatabaseManager

_PROBE_SECONDS = 5.0
_CROWDED_PERCENT = 80.0
_LONG_RUNNING_SECONDS = 300.0


class DatabaseDebugger:
    """Looks at the database that ``db`` is connected to. Needs no privilege, but sees the queries of other users
    only as a member of ``pg_read_all_stats``."""

    def __init__(self, db: AsyncDatabaseManager) -> None:
        self._db = db

    async def check_connection_health(self) -> dict[str, Any]:
        """``{"status", "timestamp", "checks"}``; never raises for a server that does not answer.

        ``status`` is ``healthy``; ``degraded``: the pool is 80 % in use, or queries block others or run for more than
        five minutes; ``unhealthy``: every connection of the pool is in use; ``error``: the server does not answer.
        ``checks`` has ``connectivity``, ``pool``, ``blocking_queries`` and ``long_running_queries``, each with a
        ``status`` (``ok``, ``warning``, ``error`` or ``skipped``) and what was seen.
        """
        # Before the probe, which takes a connection itself.
        pool = self._check_pool()
        checks: dict[str, dict[str, Any]] = {
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

    async def find_blocking_queries(self) -> list[dict[str, Any]]:
        """Who waits for whose lock in this database, longest first: blocked_pid, blocked_user, blocked_application,
        blocked_query, blocked_seconds, blocked_state, blocked_transaction_seconds, and blocking_pid, blocking_user,
        blocking_application, blocking_state, blocking_transaction_seconds, blocking_query.

        Raises:
            MonitoringError: the server could not be asked.
        """
        return await self._ask("blocking_queries")

    async def find_long_running_queries(self, threshold_seconds: float = _LONG_RUNNING_SECONDS) -> list[dict[str, Any]]:
        """Queries and idle transactions of this database that began ``threshold_seconds`` ago or earlier, longest
        first: pid, user, application, state, query, started_at, duration_seconds.

        Raises:
            MonitoringError: the server could not be asked.
        """
        return await self._ask("long_running_queries", float(threshold_seconds))

    async def analyze_table_sizes(self) -> list[dict[str, Any]]:
        """The tables of the manager's schema, without one of all schemas but PostgreSQL's own, largest first:
        schema, table, row_estimate (-1 before the first ANALYZE), table_bytes, index_bytes, total_bytes, total_size.

        Raises:
            MonitoringError: the server could not be asked.
        """
        return await self._ask("table_sizes", self._db.schema)

    async def _ask(self, name: str, *args: Any) -> list[dict[str, Any]]:
        try:
            return await self._db.fetch_all(statement("monitoring", name), *args)
        except AsyncDBError as error:
            raise MonitoringError(f"The server could not be asked for {name.replace('_', ' ')}: {error}") from error

    def _check_pool(self) -> dict[str, Any]:
        pool = self._db.pool
        if pool is None:
            return {"status": "error", "error": "not connected"}
        size, most = pool.get_size(), pool.get_max_size()
        used = size - pool.get_idle_size()
        percent = 100.0 * used / most
        status = "ok" if percent < _CROWDED_PERCENT else "warning" if used < most else "error"
        return {"status": status, "size": size, "used": used, "max_size": most, "utilization": percent}

    async def _check_connectivity(self) -> dict[str, Any]:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                await self._db.fetch_value("SELECT 1")
        except (AsyncDBError, TimeoutError) as error:
            return {"status": "error", "error": _words(error)}
        return {"status": "ok", "latency_ms": (time.perf_counter() - started) * 1000.0}


def _words(error: BaseException) -> str:
    return str(error) or f"no answer within {_PROBE_SECONDS:g} s"


def _verdict(checks: dict[str, dict[str, Any]]) -> str:
    pool = checks["pool"]
    if "used" in pool and pool["status"] == "error":
        return "unhealthy"
    if checks["connectivity"]["status"] == "error":
        return "error"
    return "healthy" if all(check["status"] == "ok" for check in checks.values()) else "degraded"
