"""Query metrics, without a server."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from pgdbm.core import DatabaseConfig
from pgdbm.errors import ConfigurationError
from pgdbm.monitoring import ConnectionMetrics, MonitoredAsyncDatabaseManager, QueryMetrics, log_query_performance
from pgdbm.monitoring.metrics import QueryRecorder

NEVER_MS = 1e9


def recorder(**options: Any) -> QueryRecorder:
    return QueryRecorder(
        **{"slow_query_threshold_ms": NEVER_MS, "max_history_size": 10, "record_args": False} | options
    )


def run(recorder: QueryRecorder, query: str, *args: Any) -> None:
    with recorder.measure(query, args):
        pass


def test_the_history_is_bounded_and_the_counts_are_not() -> None:
    queries = recorder(max_history_size=3)
    for number in range(10):
        run(queries, f"SELECT {number}")
    assert [query.query for query in queries.history] == ["SELECT 7", "SELECT 8", "SELECT 9"]
    assert queries.executed == 10


def test_parameters_are_recorded_when_asked_for_and_then_masked() -> None:
    silent, speaking = recorder(), recorder(record_args=True)
    for queries in (silent, speaking):
        run(queries, "SELECT $1, $2", "a password of over twenty characters", 1)
    assert silent.history[0].args == ()
    assert speaking.history[0].args == ("<str of 36 characters>", 1)


def test_a_cancelled_query_is_a_failed_one() -> None:
    queries = recorder()
    with pytest.raises(asyncio.CancelledError), queries.measure("SELECT 1", ()):
        raise asyncio.CancelledError
    assert (queries.executed, queries.failed) == (1, 1)
    assert queries.history[0].error == "CancelledError"


def test_a_slow_query_is_logged_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    queries = recorder(slow_query_threshold_ms=0)
    run(queries, "SELECT 1\n  FROM somewhere")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("pgdbm.monitoring", logging.WARNING)
    assert record.getMessage().startswith("Slow query detected: ")
    assert record.getMessage().endswith(": SELECT 1 FROM somewhere")


def test_a_fast_query_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    run(recorder(), "SELECT 1")
    assert caplog.records == []


def test_slow_queries_come_slowest_first() -> None:
    db = MonitoredAsyncDatabaseManager(DatabaseConfig(password="x"), slow_query_threshold_ms=20)
    for duration_ms in (30.0, 10.0, 90.0, 20.0):
        db._recorder.add(QueryMetrics("SELECT 1", (), 0.0, duration_ms / 1000, duration_ms))
    assert [query.duration_ms for query in db.get_slow_queries()] == [90.0, 30.0, 20.0]
    assert [query.duration_ms for query in db.get_slow_queries(threshold_ms=30)] == [90.0, 30.0]


@pytest.mark.parametrize("field", ["slow_query_threshold_ms", "max_history_size"])
def test_a_negative_setting_is_refused_by_name(field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MonitoredAsyncDatabaseManager(DatabaseConfig(password="x"), **{field: -1})
    assert caught.value.config_field == field


def test_utilization_is_of_what_the_pool_may_open() -> None:
    def metrics(used: int, most: int) -> ConnectionMetrics:
        return ConnectionMetrics(datetime.now(UTC), used, 0, used, 0, most, 0, 0, 0.0, 0.0)

    assert metrics(5, 20).pool_utilization == 25.0
    assert metrics(0, 0).pool_utilization == 0.0


async def test_metrics_before_connecting_are_zero() -> None:
    metrics = await MonitoredAsyncDatabaseManager(DatabaseConfig(password="x")).get_metrics()
    assert (metrics.pool_size, metrics.pool_max, metrics.queries_executed, metrics.avg_query_time_ms) == (0, 0, 0, 0.0)


async def test_the_decorator_logs_slow_calls_with_masked_arguments(caplog: pytest.LogCaptureFixture) -> None:
    @log_query_performance(threshold_ms=0, log_args=True)
    async def look_up(name: str, *, secret: str) -> str:
        return name + secret[:1]

    assert await look_up("ada", secret="s" * 30) == "adas"
    assert look_up.__name__ == "look_up"
    [record] = caplog.records
    assert "Slow query detected" in record.getMessage()
    assert "'ada'" in record.getMessage()
    assert "<str of 30 characters>" in record.getMessage()


async def test_the_decorator_ignores_fast_calls_and_reports_failed_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @log_query_performance(threshold_ms=NEVER_MS)
    async def divide(by: int) -> float:
        return 1 / by

    assert await divide(1) == 1.0
    assert caplog.records == []
    with pytest.raises(ZeroDivisionError):
        await divide(0)
    assert "divide failed after" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_the_decorator_refuses_what_is_not_a_coroutine_function() -> None:
    def plain() -> None: ...

    with pytest.raises(TypeError, match="coroutine"):
        log_query_performance()(plain)  # type: ignore[arg-type]
