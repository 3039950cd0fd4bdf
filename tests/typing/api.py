"""Uses of the public API, for the type checkers. Never run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, assert_type

import asyncpg

import pgdbm.core
import pgdbm.errors
import pgdbm.migrations
import pgdbm.monitoring
import pgdbm.testing
from pgdbm import (
    AsyncDatabaseManager,
    AsyncDBError,
    AsyncMigrationManager,
    AsyncTestDatabase,
    ChecksumMismatchError,
    ConfigurationError,
    ConnectionError,
    ConnectionMetrics,
    DatabaseConfig,
    DatabaseDebugger,
    DatabaseTestCase,
    DatabaseTestConfig,
    DatabaseTestError,
    Migration,
    MigrationError,
    MigrationExecutionError,
    MigrationFileError,
    MigrationLockTimeoutError,
    MonitoredAsyncDatabaseManager,
    MonitoringError,
    OutOfOrderError,
    PoolError,
    QueryError,
    QueryMetrics,
    SchemaError,
    SchemaManager,
    TransactionError,
    TransactionManager,
    __version__,
    log_query_performance,
)
from pgdbm.migrations import HistoryRow, ModuleStatus
from pgdbm_service.api.modules import ModuleDetail, ModuleSummary
from pgdbm_service.client import AsyncClient, Client, MigrateBody, MigrateResult, Run, RunEvent

VERSION: str = __version__


@dataclass
class User:
    id: int
    email: str


def configs() -> None:
    config = DatabaseConfig(
        connection_string="postgresql://localhost/shop",
        schema="shop",
        min_connections=1,
        command_timeout=None,
        server_settings={"work_mem": "64MB"},
        init_commands=["SELECT 1"],
        ssl_mode="verify-ca",
        statement_timeout_ms=None,
    )
    assert_type(config.get_dsn(), str)
    assert_type(config.get_dsn_masked(), str)
    assert_type(config.get_schema(), str | None)
    assert_type(config.schema_name, str | None)
    assert_type(config.get_server_settings(), dict[str, str])
    assert_type(config.model_copy(deep=True), DatabaseConfig)
    assert_type(config.port, int)


async def pools(config: DatabaseConfig) -> None:
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    assert_type(pool, asyncpg.Pool[Any])
    db = AsyncDatabaseManager(pool=pool, schema="users")
    assert_type(db.schema, str | None)
    assert_type(db.config, DatabaseConfig | None)
    assert_type(db.pool, asyncpg.Pool[Any] | None)
    assert_type(await db.get_pool_stats(), dict[str, Any])
    own = AsyncDatabaseManager(config)
    assert_type(await own.connect(), None)
    assert_type(await own.disconnect(), None)
    assert_type(await own.close(), None)
    async with AsyncDatabaseManager(config) as opened:
        assert_type(opened, AsyncDatabaseManager)
    async with MonitoredAsyncDatabaseManager(config) as monitored:
        assert_type(monitored, MonitoredAsyncDatabaseManager)


async def queries(db: AsyncDatabaseManager | TransactionManager) -> None:
    assert_type(await db.execute("UPDATE {{tables.users}} SET email = $1", "a@b", timeout=5), str)
    assert_type(await db.executemany("SELECT $1::int", [(1,), (2,)]), None)
    assert_type(await db.execute_many("SELECT $1::int", ((number,) for number in range(2))), None)
    assert_type(await db.fetch_one("SELECT 1"), dict[str, Any] | None)
    assert_type(await db.fetch_all("SELECT $1::int", 1), list[dict[str, Any]])
    assert_type(await db.fetch_value("SELECT 1", column=0), Any)
    assert_type(await db.fetch_val("SELECT 1"), Any)
    assert_type(await db.execute_and_return_id("INSERT INTO {{tables.users}} DEFAULT VALUES"), Any)
    assert_type(await db.fetch_as_model(User, "SELECT * FROM {{tables.users}} WHERE id = $1", 1), User | None)
    assert_type(await db.fetch_all_as_model(User, "SELECT * FROM {{tables.users}}"), list[User])
    assert_type(await db.copy_records_to_table("users", [(1, "a@b")], columns=["id", "email"]), int)
    assert_type(await db.table_exists("users.users"), bool)
    assert_type(db.prepare_query("SELECT * FROM {{tables.users}}"), str)


async def transactions(db: AsyncDatabaseManager) -> None:
    async with db.acquire() as connection:
        await connection.execute("LISTEN news")
    async with db.transaction() as transaction:
        assert_type(transaction, TransactionManager)
        async with transaction.transaction() as savepoint:
            assert_type(savepoint, TransactionManager)
    db.add_prepared_statement("users", "SELECT * FROM {{tables.users}}")
    schemas = SchemaManager(db)
    await schemas.create_schema("tenant")
    assert_type(await schemas.schema_exists("tenant"), bool)
    assert_type(await schemas.list_schemas(), list[str])
    await schemas.drop_schema("tenant", cascade=True)


async def migrations(db: AsyncDatabaseManager) -> None:
    AsyncMigrationManager(db, Path("migrations"), "users")
    AsyncMigrationManager(db, resources.files("json") / "migrations", module_name="users", out_of_order="reject")
    AsyncMigrationManager(db, {"001_users.sql": "SELECT 1;"}, module_name="users", lock_timeout=None)
    manager = AsyncMigrationManager(db, "migrations", "users", migrations_table="history", lock_wait_timeout=60)
    assert_type(await manager.apply_pending_migrations(dry_run=True), dict[str, Any])
    assert_type(await manager.find_migration_files(), list[Migration])
    assert_type(await manager.get_applied_migrations(), dict[str, Migration])
    pending = await manager.get_pending_migrations()
    assert_type(pending, list[Migration])
    assert_type(await manager.apply_migration(pending[0]), float)
    assert_type(await manager.get_migration_history(limit=5), list[dict[str, Any]])
    assert_type(await manager.history(), list[HistoryRow])
    assert_type(await manager.status(), ModuleStatus)
    assert_type(await manager.create_migration("add users", "SELECT 1;"), str)
    assert_type(await manager.rollback_migration("001_users.sql"), None)
    assert_type(pending[0].is_applied, bool)
    assert_type(pending[0].version, str)


def failures(error: AsyncDBError) -> None:
    assert_type(error.message, str)
    assert_type(error.details, dict[str, Any])
    match error:
        case ConfigurationError():
            assert_type(error.config_field, str | None)
        case SchemaError():
            assert_type(error.schema, str | None)
        case QueryError():
            assert_type(error.query, str | None)
            assert_type(error.original_error, BaseException | None)
        case MigrationFileError():
            assert_type(error.line, int | None)
            assert_type(error.hint, str | None)
        case ChecksumMismatchError():
            assert_type((error.recorded, error.current), tuple[str, str])
        case OutOfOrderError():
            assert_type(error.newest_applied, str)
        case MigrationExecutionError():
            assert_type(error.sqlstate, str | None)
            assert_type(error.applied, list[dict[str, Any]])
        case MigrationLockTimeoutError():
            assert_type(error.waited_s, float)
        case MigrationError():
            assert_type(error.migration_file, str | None)
            assert_type(error.sql_error, str | None)
            assert_type(error.code, str)
        case ConnectionError() | PoolError() | TransactionError() | DatabaseTestError() | MonitoringError():
            assert_type(error.details["host"], Any)
        case _:
            pass


async def monitoring(db: MonitoredAsyncDatabaseManager) -> None:
    metrics = await db.get_metrics()
    assert_type(metrics, ConnectionMetrics)
    assert_type(metrics.pool_utilization, float)
    assert_type(db.get_query_history(limit=5, include_errors=False), list[QueryMetrics])
    assert_type(db.get_slow_queries(threshold_ms=10), list[QueryMetrics])
    assert_type(await db.explain_query("SELECT $1::int", 1, analyze=True), list[dict[str, Any]])
    debugger = DatabaseDebugger(db)
    assert_type(await debugger.check_connection_health(), dict[str, Any])
    assert_type(await debugger.find_blocking_queries(), list[dict[str, Any]])
    assert_type(await debugger.find_long_running_queries(threshold_seconds=60), list[dict[str, Any]])
    assert_type(await debugger.analyze_table_sizes(), list[dict[str, Any]])

    @log_query_performance(threshold_ms=50)
    async def count(table: str) -> int:
        return len(table)

    assert_type(await count("users"), int)


async def testing() -> None:
    async with AsyncTestDatabase(DatabaseTestConfig.from_env()).create(schema="app") as db:
        assert_type(db, AsyncDatabaseManager)
        case = DatabaseTestCase(db)
        assert_type(await case.create_test_user("a@b"), dict[str, Any])
        assert_type(await case.count_rows("users", where="id > 0"), int)
        assert_type(await case.table_exists("users"), bool)
        assert_type(await case.truncate_table("users", cascade=True), None)


def the_client(client: Client) -> None:
    assert_type(client.get_module("users"), ModuleDetail)
    assert_type(client.migrate("users", MigrateBody(wait_s=0)), MigrateResult | Run)
    assert_type(client.list_modules(limit=3), Iterator[ModuleSummary])
    assert_type(next(client.follow("1")), RunEvent)
    assert_type(client.wait_for(client.migrate("users")), MigrateResult)
    client.get_module()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.list_runs(status="over")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def the_client_for_asyncio(client: AsyncClient) -> None:
    assert_type(await client.get_module("users"), ModuleDetail)
    assert_type([one async for one in client.list_modules()], list[ModuleSummary])
    assert_type([one async for one in client.follow("1")], list[RunEvent])
    assert_type(await client.wait_for(await client.migrate("users")), MigrateResult)


def the_modules_have_them_too() -> None:
    assert_type(pgdbm.core.AsyncDatabaseManager, type[AsyncDatabaseManager])
    assert_type(pgdbm.errors.QueryError, type[QueryError])
    assert_type(pgdbm.migrations.AsyncMigrationManager, type[AsyncMigrationManager])
    assert_type(pgdbm.monitoring.DatabaseDebugger, type[DatabaseDebugger])
    assert_type(pgdbm.testing.DatabaseTestCase, type[DatabaseTestCase])


def what_the_checkers_refuse(db: AsyncDatabaseManager) -> None:
    DatabaseConfig("postgresql://localhost/shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    DatabaseConfig(port="5432")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    AsyncMigrationManager(db, out_of_order="perhaps")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
