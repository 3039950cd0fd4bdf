"""Measuring the queries of a manager, and the activity of the server.

::

    db = MonitoredAsyncDatabaseManager(config, slow_query_threshold_ms=200)
    ...
    (await db.get_metrics()).slowest_query_ms
    await DatabaseDebugger(db).check_connection_health()
"""

from __future__ import annotations

from ..errors import MonitoringError
from .debugger import DatabaseDebugger
from .manager import MonitoredAsyncDatabaseManager
from .metrics import ConnectionMetrics, QueryMetrics
from .performance import log_query_performance

__all__ = [
    "ConnectionMetrics",
    "DatabaseDebugger",
    "MonitoredAsyncDatabaseManager",
    "MonitoringError",
    "QueryMetrics",
    "log_query_performance",
]
