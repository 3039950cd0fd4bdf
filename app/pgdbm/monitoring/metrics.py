"""Metrics of queries and pools, and the recorder that collects them. Pure."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ..core.masking import mask_error, mask_parameters
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from types import TracebackType

logger = logging.getLogger("pgdbm.monitoring")

_LONGEST_LOGGED_QUERY = 500


@dataclass(slots=True)
class QueryMetrics:
    """One query.

    ``query`` is the text that the caller passed. ``args`` are masked, and empty unless recorded. ``start_time`` and
    ``end_time`` are seconds since the epoch. ``rows_affected`` is None if the server does not report it.
    """

    query: str
    args: tuple[object, ...]
    start_time: float
    end_time: float
    duration_ms: float
    rows_affected: int | None = None
    error: str | None = None


@dataclass(slots=True)
class ConnectionMetrics:
    """The state of a pool, and the queries since its manager was created; executed queries include failed ones."""

    timestamp: datetime
    pool_size: int
    pool_free: int
    pool_used: int
    pool_min: int
    pool_max: int
    queries_executed: int
    queries_failed: int
    avg_query_time_ms: float
    slowest_query_ms: float

    @property
    def pool_utilization(self) -> float:
        """The share of the maximum pool size in use, in percent."""
        return 100.0 * self.pool_used / self.pool_max if self.pool_max else 0.0


class QueryRecorder:
    """Counts and times queries, and keeps the last ``max_history_size`` of them."""

    def __init__(
        self,
        slow_query_threshold_ms: float,
        max_history_size: int,
        record_args: bool,
        observer: Callable[[QueryMetrics], None] | None = None,
    ) -> None:
        if slow_query_threshold_ms < 0:
            raise ConfigurationError(
                f"slow_query_threshold_ms is {slow_query_threshold_ms}; it must be at least 0.",
                "slow_query_threshold_ms",
            )
        if max_history_size < 0:
            raise ConfigurationError(
                f"max_history_size is {max_history_size}; it must be at least 0.", "max_history_size"
            )
        self.threshold_ms = slow_query_threshold_ms
        self.record_args = record_args
        self.history: deque[QueryMetrics] = deque(maxlen=max_history_size)
        self.executed = 0
        self.failed = 0
        self.total_ms = 0.0
        self.slowest_ms = 0.0
        self._observer = observer

    def measure(self, query: str, args: Sequence[object] | None) -> Measurement:
        """``with recorder.measure(query, args) as measured:`` around the query; set ``measured.rows`` inside.

        ``args`` is None if the arguments are not known, as for many rows.
        """
        return Measurement(self, query, args)

    def add(self, metrics: QueryMetrics) -> None:
        self.executed += 1
        self.total_ms += metrics.duration_ms
        if metrics.error is not None:
            self.failed += 1
        if metrics.duration_ms > self.slowest_ms:
            self.slowest_ms = metrics.duration_ms
        self.history.append(metrics)
        if metrics.duration_ms >= self.threshold_ms:
            logger.warning(
                "Slow query detected: %.1f ms (over %g ms)%s: %s",
                metrics.duration_ms,
                self.threshold_ms,
                f" with {metrics.args!r}" if metrics.args else "",
                " ".join(metrics.query.split())[:_LONGEST_LOGGED_QUERY],
            )
        if self._observer is not None:
            self._observer(metrics)


class Measurement:
    """Measures the time of a block. A canceled query counts as failed."""

    __slots__ = ("_args", "_query", "_recorder", "_start_time", "_started", "rows")

    def __init__(self, recorder: QueryRecorder, query: str, args: Sequence[object] | None) -> None:
        self._recorder = recorder
        self._query = query
        self._args = args
        self.rows: int | None = None

    def __enter__(self) -> Self:
        self._start_time = time.time()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        self._recorder.add(
            QueryMetrics(
                query=self._query,
                args=mask_parameters(self._args) if self._args and self._recorder.record_args else (),
                start_time=self._start_time,
                end_time=self._start_time + seconds,
                duration_ms=seconds * 1000.0,
                rows_affected=self.rows,
                error=None if error is None else _describe(error, self._args),
            )
        )


def _describe(error: BaseException, args: Sequence[object] | None) -> str:
    """The server's message: the library's own would repeat the query."""
    cause = getattr(error, "original_error", None) or error
    kind, words = type(cause).__name__, mask_error(cause, args)
    return kind if words == kind else f"{kind}: {words}"
