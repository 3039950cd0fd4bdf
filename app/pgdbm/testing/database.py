"""AsyncTestDatabase: a separate database that exists while a test runs."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from ..core.config import DatabaseConfig
from ..core.connecting import connect
from ..core.manager import AsyncDatabaseManager
from ..core.templating import quote as quote_identifier
from ..dsn import mask, parse_dsn
from ..errors import DatabaseTestError
from ..monitoring.manager import MonitoredAsyncDatabaseManager
from ..monitoring.metrics import QueryMetrics, QueryRecorder
from ..text import error_text
from . import server, snapshots
from .config import DatabaseTestConfig
from .data import load
from .names import database_name, is_left_behind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from ..core.connection import Connection, RowDict

logger = logging.getLogger("pgdbm.testing")

_UNREACHABLE = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.ClientConfigurationError, OSError)
_CONNECT_S = 10.0
_MAX_CONNECTIONS = 10

_swept: set[tuple[str, str]] = set()


class _Create:
    """``create``, on the class and on an object alike."""

    def __get__(
        self, instance: AsyncTestDatabase | None, owner: type[AsyncTestDatabase]
    ) -> Callable[..., AbstractAsyncContextManager[AsyncDatabaseManager]]:
        @asynccontextmanager
        async def create(
            schema: str | None = None, config: DatabaseTestConfig | None = None, suffix: str | None = None
        ) -> AsyncIterator[AsyncDatabaseManager]:
            made = owner(config or (instance.config if instance is not None else None))
            await made.create_test_database(suffix)
            try:
                db = made.get_test_db_manager(schema)
                try:
                    await db.connect()
                    yield db
                finally:
                    await _close(db)
            finally:
                await made.drop_test_database()

        return create


class AsyncTestDatabase:
    """A database on the server of ``config`` (None: :meth:`DatabaseTestConfig.from_env`).

    ``async with AsyncTestDatabase.create(schema=None, config=None, suffix=None) as db:`` creates a database, yields a
    connected manager, and drops the database at the end of the block, even after errors and with open connections. If
    called on an instance, the default of ``config`` is its config. The steps are also available one by one:
    :meth:`create_test_database`, :meth:`get_test_db_manager`, :meth:`drop_test_database`.
    """

    create = _Create()

    def __init__(self, config: DatabaseTestConfig | None = None) -> None:
        self.config = DatabaseTestConfig.from_env() if config is None else config
        self._server: str | None = None
        self._name: str | None = None

    async def create_test_database(self, suffix: str | None = None) -> str:
        """Create the database and return its name. Databases of killed processes of this machine are dropped.

        Raises:
            ValueError: ``suffix`` cannot be part of a name.
            DatabaseTestError: the database already exists, or the server cannot be reached or rejects the statement.
        """
        if self._name is not None:
            raise DatabaseTestError(f"The database {self._name!r} already exists: create another AsyncTestDatabase.")
        name = database_name(self.config.test_db_prefix, suffix)
        self._server = await self._resolve_server()
        try:
            connection = await connect(self._server, timeout=_CONNECT_S)
            try:
                await self._sweep(connection)
                template = quote_identifier(self.config.test_db_template)
                await connection.execute(f"CREATE DATABASE {quote_identifier(name)} TEMPLATE {template}")
            finally:
                await connection.close()
        except _UNREACHABLE as error:
            raise self._failure("create a test database", error) from error
        self._name = name
        if self.config.verbose:
            logger.info("Created test database %s", name)
        return name

    async def drop_test_database(self) -> None:
        """Drop the database and terminate its connections. Does nothing with ``drop_on_cleanup=False``."""
        name, self._name = self._name, None
        if name is None:
            return
        if not self.config.drop_on_cleanup:
            logger.info("Kept test database %s", name)
            return
        assert self._server is not None
        try:
            connection = await connect(self._server, timeout=_CONNECT_S)
            try:
                await connection.execute(f"DROP DATABASE IF EXISTS {quote_identifier(name)} WITH (FORCE)")
            finally:
                await connection.close()
        except _UNREACHABLE as error:
            raise self._failure(f"drop test database {name}", error) from error
        if self.config.verbose:
            logger.info("Dropped test database %s", name)

    def get_test_db_config(self, schema: str | None = None) -> DatabaseConfig:
        """The config of the database.

        Raises:
            DatabaseTestError: it does not exist yet.
        """
        if self._name is None or self._server is None:
            raise DatabaseTestError("The test database does not exist yet: call `await create_test_database()` first.")
        return DatabaseConfig(
            connection_string=parse_dsn(self._server).with_parameters(dbname=self._name),
            database=self._name,
            schema=schema,
            min_connections=1,
            max_connections=_MAX_CONNECTIONS,
            # A test in a debugger may keep its transaction open.
            idle_in_transaction_session_timeout_ms=None,
        )

    def get_test_db_manager(self, schema: str | None = None) -> AsyncDatabaseManager:
        """A manager of the database, not connected: use ``async with``, or connect() and close()."""
        config = self.get_test_db_config(schema)
        return _LoggedDatabaseManager(config) if self.config.log_sql else AsyncDatabaseManager(config)

    async def load_fixtures(self, db: AsyncDatabaseManager, path: str | Path) -> dict[str, int]:
        """Load a ``.sql`` or ``.json`` file, or all such files in a folder in the order of their names, in one
        transaction.

        Returns the number of rows by table; for a folder, the rows of an SQL file are under the file's name without its
        suffix.

        SQL: any statements, with placeholders; rows of INSERTs count. JSON: ``{"table": [{"column": value}]}``; the
        server converts the values to the types of the columns, and a column that a row omits gets its default.

        Raises:
            DatabaseTestError: a file is missing or invalid, or the server rejected it.
            SchemaError: a table or a column in the JSON is not a plain identifier.
        """
        return await load(db, path)

    async def snapshot_table(self, db: AsyncDatabaseManager, table: str, order_by: str | None = None) -> list[RowDict]:
        """All rows, ordered by the column ``order_by`` or by the whole row.

        Raises:
            SchemaError: ``table`` or ``order_by`` is not a plain identifier.
        """
        return await snapshots.take(db, table, order_by)

    async def assert_table_unchanged(
        self, db: AsyncDatabaseManager, table: str, snapshot: list[RowDict], order_by: str | None = None
    ) -> None:
        """Compare the table with a snapshot that was taken with the same ``order_by``.

        Raises:
            AssertionError: they differ; the message has the rows.
        """
        snapshots.compare(table, snapshot, await snapshots.take(db, table, order_by))

    async def _resolve_server(self) -> str:
        if self.config.embedded:
            return await asyncio.to_thread(server.dsn)
        if self.config.connection_string is not None:
            return self.config.connection_string
        parts = DatabaseConfig(
            host=self.config.host, port=self.config.port, user=self.config.user, password=self.config.password
        )
        return parts.get_dsn()

    async def _sweep(self, connection: Connection) -> None:
        assert self._server is not None
        key = (self._server, self.config.test_db_prefix)
        if key in _swept:
            return
        _swept.add(key)
        for row in await connection.fetch("SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate"):
            if is_left_behind(row["datname"], self.config.test_db_prefix):
                try:
                    await connection.execute(f"DROP DATABASE IF EXISTS {quote_identifier(row['datname'])} WITH (FORCE)")
                except asyncpg.PostgresError as error:
                    logger.warning("Could not drop %s, left behind by an earlier run: %s", row["datname"], error)

    def _failure(self, what: str, error: BaseException) -> DatabaseTestError:
        shown = mask(self._server or "")
        return DatabaseTestError(
            f"Could not {what} on {shown}: {error_text(error)}\n"
            f"Check TEST_DB_HOST, TEST_DB_PORT, TEST_DB_USER and TEST_DB_PASSWORD, or DATABASE_URL. If none of them is "
            f"set and pgdbm[embedded] is installed, an embedded PostgreSQL is used.",
            details={"server": shown, "error_type": type(error).__name__},
        )


class _LoggedDatabaseManager(MonitoredAsyncDatabaseManager):
    """Logs every query."""

    def __init__(self, config: DatabaseConfig) -> None:
        super().__init__(config)
        self._recorder = QueryRecorder(math.inf, 0, record_args=True, observer=_log_query)


def _log_query(metrics: QueryMetrics) -> None:
    logger.info(
        "%.1f ms: %s %r%s",
        metrics.duration_ms,
        metrics.query,
        metrics.args,
        f" failed: {metrics.error}" if metrics.error else "",
    )


async def _close(db: AsyncDatabaseManager) -> None:
    """Close without waiting for connections that a failed test did not release."""
    pool = db.pool
    if pool is not None and pool.get_idle_size() < pool.get_size():
        pool.terminate()
    await db.disconnect()
