"""Monitoring and debugging against a real server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm.errors import MonitoringError, QueryError
from pgdbm.monitoring import DatabaseDebugger, MonitoredAsyncDatabaseManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import asyncpg

TABLE = "CREATE TABLE {{tables.items}} (id serial PRIMARY KEY, name text UNIQUE)"


@pytest.fixture
async def monitored(database: str) -> AsyncIterator[MonitoredAsyncDatabaseManager]:
    config = DatabaseConfig(connection_string=database, schema="app", min_connections=1, max_connections=4)
    async with MonitoredAsyncDatabaseManager(config, record_args=True) as db:
        yield db


@dataclass
class Item:
    id: int
    name: str


async def test_every_query_method_is_tracked(monitored: MonitoredAsyncDatabaseManager) -> None:
    db = monitored
    await db.execute(TABLE)
    await db.execute("INSERT INTO {{tables.items}} (name) VALUES ('a'), ('b')")
    await db.executemany("INSERT INTO {{tables.items}} (name) VALUES ($1)", [("c",), ("d",)])
    await db.execute_many("INSERT INTO {{tables.items}} (name) VALUES ($1)", [("e",)])
    await db.fetch_one("SELECT * FROM {{tables.items}} WHERE name = $1", "a")
    await db.fetch_all("SELECT * FROM {{tables.items}}")
    await db.fetch_value("SELECT count(*) FROM {{tables.items}}")
    await db.fetch_val("SELECT max(id) FROM {{tables.items}}")
    await db.execute_and_return_id("INSERT INTO {{tables.items}} (name) VALUES ($1)", "f")
    await db.fetch_as_model(Item, "SELECT * FROM {{tables.items}} WHERE id = 1")
    await db.fetch_all_as_model(Item, "SELECT * FROM {{tables.items}}")
    await db.copy_records_to_table("items", [("g",), ("h",)], columns=["name"])
    await db.table_exists("items")

    history = db.get_query_history()
    assert [query.rows_affected for query in history] == [None, 2, None, None, 1, 5, None, None, None, 1, 6, 2, None]
    assert history[4].query == "SELECT * FROM {{tables.items}} WHERE name = $1"
    assert history[4].args == ("a",)
    assert all(query.error is None and query.end_time >= query.start_time for query in history)
    metrics = await db.get_metrics()
    assert (metrics.queries_executed, metrics.queries_failed) == (13, 0)
    assert metrics.slowest_query_ms >= metrics.avg_query_time_ms > 0
    assert metrics.slowest_query_ms == max(query.duration_ms for query in history)


async def test_queries_of_transactions_and_savepoints_are_tracked(monitored: MonitoredAsyncDatabaseManager) -> None:
    async with monitored.transaction() as outer:
        await outer.execute(TABLE)
        async with outer.transaction() as inner:
            await inner.fetch_value("SELECT 1")
    assert [query.query for query in monitored.get_query_history()] == [TABLE, "SELECT 1"]


async def test_a_failed_query_is_recorded_and_raised(monitored: MonitoredAsyncDatabaseManager) -> None:
    await monitored.execute("SELECT 1")
    with pytest.raises(QueryError):
        await monitored.fetch_all("SELECT * FROM nowhere")
    await monitored.execute("SELECT 2")
    with pytest.raises(QueryError):
        await monitored.fetch_value("SELECT $1::text::int", "a secret of over twenty characters")
    metrics = await monitored.get_metrics()
    assert (metrics.queries_executed, metrics.queries_failed) == (4, 2)
    assert monitored.get_query_history()[1].error == 'UndefinedTableError: relation "nowhere" does not exist'
    assert "secret" not in str(monitored.get_query_history()[3].error)
    assert [query.query for query in monitored.get_query_history(include_errors=False)] == ["SELECT 1", "SELECT 2"]
    assert [query.query for query in monitored.get_query_history(1, include_errors=False)] == ["SELECT 2"]
    assert monitored.get_query_history(limit=0) == []


async def test_a_slow_query_is_found_and_logged(database: str, caplog: pytest.LogCaptureFixture) -> None:
    config = DatabaseConfig(connection_string=database, min_connections=1)
    async with MonitoredAsyncDatabaseManager(config, slow_query_threshold_ms=20) as db:
        await db.execute("SELECT pg_sleep(0.03)")
        assert [query.query for query in db.get_slow_queries()] == ["SELECT pg_sleep(0.03)"]
        assert db.get_slow_queries(threshold_ms=1e9) == []
    assert caplog.text.count("Slow query detected") == 1


async def test_it_works_on_a_shared_pool_and_reports_its_use(pool: asyncpg.Pool[Any]) -> None:
    db = MonitoredAsyncDatabaseManager(pool=pool, schema="app")
    async with db.acquire():
        metrics = await db.get_metrics()
    assert (metrics.pool_used, metrics.pool_min, metrics.pool_max) == (1, 1, 10)
    assert metrics.pool_size == metrics.pool_used + metrics.pool_free
    assert metrics.pool_utilization == 10.0
    assert db.schema == "app"


@pytest.mark.parametrize("analyze", [False, True])
async def test_explain_shows_the_plan_and_leaves_no_effect(
    monitored: MonitoredAsyncDatabaseManager, analyze: bool
) -> None:
    await monitored.execute(TABLE)
    await monitored.execute("INSERT INTO {{tables.items}} (name) VALUES ('a')")
    counted = (await monitored.get_metrics()).queries_executed
    plan = await monitored.explain_query("DELETE FROM {{tables.items}} WHERE name = $1", "a", analyze=analyze)
    lines = [row["QUERY PLAN"] for row in plan]
    assert lines[0].startswith("Delete on items")
    assert any("actual" in line for line in lines) is analyze
    assert (await monitored.get_metrics()).queries_executed == counted
    assert await monitored.fetch_value("SELECT count(*) FROM {{tables.items}}") == 1


async def test_explain_has_no_effect_even_where_the_statement_asks_for_one(
    monitored: MonitoredAsyncDatabaseManager,
) -> None:
    await monitored.execute(TABLE)
    await monitored.explain_query("ANALYZE INSERT INTO {{tables.items}} (name) VALUES ('a')")
    with pytest.raises(QueryError):
        await monitored.explain_query("SELECT 1; INSERT INTO {{tables.items}} (name) VALUES ('a')", analyze=True)
    assert await monitored.fetch_value("SELECT count(*) FROM {{tables.items}}") == 0


async def test_a_quiet_database_is_healthy(db: AsyncDatabaseManager) -> None:
    health = await DatabaseDebugger(db).check_connection_health()
    assert health["status"] == "healthy"
    assert set(health["checks"]) == {"connectivity", "pool", "blocking_queries", "long_running_queries"}
    assert {check["status"] for check in health["checks"].values()} == {"ok"}


async def test_blocked_sessions_are_found_and_degrade_health(
    db: AsyncDatabaseManager, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    debugger = DatabaseDebugger(db)
    async with connect() as holder, connect() as waiter:
        await holder.execute("SELECT pg_advisory_lock(42)")
        waiting = asyncio.create_task(waiter.execute("SELECT pg_advisory_lock(42)"))
        # The server may show the wait before it shows the query that waits.
        while not (found := await debugger.find_blocking_queries()) or not found[0]["blocked_query"]:
            await asyncio.sleep(0.01)
        health = await debugger.check_connection_health()
        pids = (waiter.get_server_pid(), holder.get_server_pid())
        await holder.execute("SELECT pg_advisory_unlock(42)")
        await waiting
    assert [(row["blocked_pid"], row["blocking_pid"]) for row in found] == [pids]
    assert found[0]["blocked_query"] == "SELECT pg_advisory_lock(42)"
    assert found[0]["blocked_seconds"] >= 0
    assert health["status"] == "degraded"
    assert health["checks"]["blocking_queries"]["count"] == 1


async def test_long_running_queries_and_idle_transactions_are_found(
    db: AsyncDatabaseManager, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    debugger = DatabaseDebugger(db)
    async with connect() as idler:
        pid = idler.get_server_pid()
        assert pid not in [row["pid"] for row in await debugger.find_long_running_queries(0)]
        await idler.execute("BEGIN")
        [row] = [row for row in await debugger.find_long_running_queries(0) if row["pid"] == pid]
        assert row["state"] == "idle in transaction"
        assert row["duration_seconds"] >= 0
        assert await debugger.find_long_running_queries() == []


async def test_an_exhausted_pool_is_unhealthy(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=1)
    async with AsyncDatabaseManager(config) as db:
        async with db.acquire():
            with monkeypatch.context() as patched:
                patched.setattr("pgdbm.monitoring.debugger._PROBE_SECONDS", 0.05)
                health = await DatabaseDebugger(db).check_connection_health()
        assert health["status"] == "unhealthy"
        assert health["checks"]["pool"]["utilization"] == 100.0
        assert (await DatabaseDebugger(db).check_connection_health())["status"] == "healthy"


async def test_an_unreachable_server_is_an_error_of_health_and_of_queries() -> None:
    debugger = DatabaseDebugger(AsyncDatabaseManager(DatabaseConfig(password="x")))
    health = await debugger.check_connection_health()
    assert health["status"] == "error"
    assert "connect()" in health["checks"]["connectivity"]["error"]
    with pytest.raises(MonitoringError, match="table sizes"):
        await debugger.analyze_table_sizes()


async def test_table_sizes_are_those_of_the_manager_schema(
    db: AsyncDatabaseManager, connect: Callable[[], AbstractAsyncContextManager[Any]]
) -> None:
    async with connect() as connection:
        await connection.execute(
            "CREATE SCHEMA app;"
            "CREATE TABLE app.small (id int);"
            "CREATE TABLE app.big AS SELECT generate_series(1, 10000) AS id;"
            "CREATE INDEX ON app.big (id);"
            "CREATE TABLE public.elsewhere (id int)"
        )
    sizes = await DatabaseDebugger(db).analyze_table_sizes()
    assert [(row["schema"], row["table"]) for row in sizes] == [("app", "big"), ("app", "small")]
    assert sizes[0]["total_bytes"] == sizes[0]["table_bytes"] + sizes[0]["index_bytes"] > sizes[1]["total_bytes"]
