"""AsyncDatabaseManager: queries in one schema, over its own pool or a shared one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from ..errors import ConfigurationError, PoolError
from .asyncpg_errors import FAILURES, UNREACHABLE
from .connecting import connection_error
from .creation import create_schema
from .pool import ConfiguredPool, open_own_pool, open_shared_pool, own_pools, release
from .queries import OwnErrors, Queries, as_dicts
from .templating import check_identifier, quote
from .transaction import TransactionManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    from ..dsn import Target
    from .config import DatabaseConfig
    from .connection import Connection, RowDict

T = TypeVar("T")

logger = logging.getLogger("pgdbm")

_MANY_ROWS = 200


class AsyncDatabaseManager(Queries):
    """Queries in one schema.

    With ``config`` it opens its own pool in :meth:`connect`. With ``pool`` (see :meth:`create_shared_pool`) it uses
    that one and is ready without connecting; ``schema``, by default ``public``, is then the schema that
    ``{{tables.x}}`` refers to. The schema of a manager does not change: create another manager for another schema.

    Raises:
        ConfigurationError: not exactly one of ``config`` and ``pool``, or ``schema`` without ``pool``.
        SchemaError: ``schema`` is not a plain identifier.
    """

    def __init__(
        self,
        config: DatabaseConfig | None = None,
        pool: asyncpg.Pool[Any] | None = None,
        schema: str | None = None,
    ) -> None:
        if config is not None and pool is not None:
            raise ConfigurationError(
                "Cannot provide both config and pool: give config= to open a pool, or pool= to use an existing one.",
                "pool",
            )
        if config is None and pool is None:
            raise ConfigurationError(
                "Must provide either config or pool: config=DatabaseConfig(...) to open a pool, "
                "or pool=await AsyncDatabaseManager.create_shared_pool(config).",
                "config",
            )
        if schema is not None and pool is None:
            raise ConfigurationError(
                "Schema override only valid with external pool: set the schema in the config, "
                "DatabaseConfig(schema=...).",
                "schema",
            )
        self._pool = pool
        self._owns_pool = pool is None
        self._opening = asyncio.Lock()
        self._counted_as: Target | None = None
        if config is not None:
            self.config: DatabaseConfig | None = config
            self._schema = config.schema_name
        else:
            self.config = pool.config if isinstance(pool, ConfiguredPool) else None
            self._schema = "public" if schema is None else check_identifier(schema)

    @classmethod
    async def create_shared_pool(cls, config: DatabaseConfig) -> asyncpg.Pool[Any]:
        """A pool for many managers: ``AsyncDatabaseManager(pool=pool, schema=...)``. Close it with ``pool.close()``.

        Every connection has the search_path ``config.shared_pool_search_path``, so that an unqualified table name fails
        instead of resolving to another service's table.

        Raises:
            ConfigurationError: a proxy dropped the search_path.
            ConnectionError: the server could not be reached.
        """
        return await open_shared_pool(config)

    @property
    def schema(self) -> str | None:
        """The schema of ``{{tables.x}}``; None for unqualified names."""
        return self._schema

    @schema.setter
    def schema(self, value: object) -> None:
        raise ConfigurationError(
            f"The schema of a manager ({self._schema!r}) cannot be changed. Create another manager: "
            f"AsyncDatabaseManager(pool=pool, schema={value!r}).",
            "schema",
        )

    @property
    def pool(self) -> asyncpg.Pool[Any] | None:
        """The asyncpg pool, or None while not connected."""
        return self._pool

    async def connect(self) -> None:
        """Open the pool, and create the schema unless it exists. Does nothing if connected already.

        Raises:
            PoolError: the manager uses an external pool.
            ConnectionError: the server could not be reached after ``retry_attempts``.
        """
        if not self._owns_pool:
            raise PoolError("Cannot call connect on an external pool: the manager is ready for use.")
        async with self._opening:
            if self._pool is None:
                await self._open()

    async def _open(self) -> None:
        assert self.config is not None
        self.config.get_dsn()
        self._counted_as = own_pools.opened(self.config)
        try:
            self._pool = await open_own_pool(self.config)
            if self._schema is not None:
                await self.ensure_schema(self._schema)
        except BaseException:
            await self._close()
            raise

    async def disconnect(self) -> None:
        """Close the pool, unless it is an external one. Can be called more than once."""
        if self._owns_pool:
            async with self._opening:
                await self._close()

    async def _close(self) -> None:
        pool, self._pool = self._pool, None
        if self._counted_as is not None:
            own_pools.closed(self._counted_as)
            self._counted_as = None
        if pool is not None:
            await pool.close()

    close = disconnect

    async def __aenter__(self) -> Self:
        if self._owns_pool:
            await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.disconnect()

    def acquire(self) -> AbstractAsyncContextManager[PoolConnectionProxy[asyncpg.Record]]:
        """An asyncpg connection of the pool for the duration of the block.

        Raises:
            PoolError: there is no pool, or it is closed.
            ConnectionError: the server could not be reached.
        """
        return _Acquired(self, self._target)

    @property
    def has_direct_connection(self) -> bool:
        """Whether :meth:`acquire_direct` differs from :meth:`acquire`."""
        pool = self._pool
        return isinstance(pool, ConfiguredPool) and pool.config.direct_connection_string is not None

    @asynccontextmanager
    async def acquire_direct(self) -> AsyncIterator[Connection]:
        """A connection to ``direct_connection_string`` without time limits, opened for the duration of the block.

        For work that needs a session of its own while the pool goes through a transaction pooler. Without that string,
        or with a pool that :meth:`create_shared_pool` did not create, it is the same as :meth:`acquire`.

        Raises:
            PoolError: there is no pool.
            ConnectionError: the server could not be reached.
        """
        pool = self._target()
        if not isinstance(pool, ConfiguredPool) or pool.config.direct_connection_string is None:
            async with self.acquire() as connection:
                yield connection
            return
        direct = await pool.open_direct()
        try:
            yield direct
        except BaseException:
            direct.terminate()
            raise
        await direct.close()

    async def ensure_schema(self, schema: str, *, durable: bool = True) -> None:
        """Create ``schema`` unless it exists; safe against concurrent sessions.

        With ``durable=False`` a crash of the server may undo it, unless a later commit waits for the WAL flush.
        """
        create = f"CREATE SCHEMA IF NOT EXISTS {quote(check_identifier(schema))}"
        async with self.acquire() as connection:
            with OwnErrors(self, create, ()):
                await create_schema(connection, schema, durable=durable)

    def transaction(self) -> TransactionManager:
        """``async with db.transaction() as tx``: a transaction with the same query methods."""
        return TransactionManager(self._schema, self.acquire())

    def add_prepared_statement(self, name: str, query: str) -> None:
        """Check the placeholders of ``query``. asyncpg prepares each query on first use: ``name`` has no effect.

        Raises:
            SchemaError, QueryError: as :meth:`prepare_query`.
        """
        self.prepare_query(query)

    async def get_pool_stats(self) -> RowDict:
        """status, min_size, max_size, size, free_size, used_size, database, schema, pid and version."""
        if self._pool is None:
            return {"status": "not_connected"}
        pool = self._pool
        row = await self.fetch_one(
            "SELECT pg_catalog.current_database() AS database, pg_catalog.pg_backend_pid() AS pid,"
            " pg_catalog.version() AS version"
        )
        assert row is not None
        size, free = pool.get_size(), pool.get_idle_size()
        return {
            "status": "connected",
            "min_size": pool.get_min_size(),
            "max_size": pool.get_max_size(),
            "size": size,
            "free_size": free,
            "used_size": size - free,
            "schema": self._schema,
            **row,
        }

    async def _on_connection(self, work: Callable[[Any], Awaitable[T]]) -> T:
        # The pool's own methods do the same with more coroutines.
        pool = self._target()
        connection = await pool.acquire()
        try:
            return await work(connection)
        finally:
            await release(pool, connection)

    async def _fetch_dicts(self, sql: str, args: Sequence[object], timeout: float | None) -> list[RowDict]:
        pool = self._target()
        connection = await pool.acquire()
        try:
            rows = await connection.fetch(sql, *args, timeout=timeout)
        except BaseException:
            await release(pool, connection)
            raise
        if len(rows) < _MANY_ROWS:
            await release(pool, connection)
            return as_dicts(rows)
        # Releasing a connection takes a round trip, during which the rows are converted.
        releasing = asyncio.ensure_future(release(pool, connection))
        try:
            # Released twice: the pool releases it in another task.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return as_dicts(rows)
        finally:
            await releasing

    def _target(self) -> asyncpg.Pool[Any]:
        if self._pool is None:
            raise PoolError("Not connected: call `await db.connect()` first, or use `async with db:`.")
        return self._pool

    def __repr__(self) -> str:
        kind = "own pool" if self._owns_pool else "shared pool"
        return f"<AsyncDatabaseManager schema={self._schema!r} {kind}>"


class _Acquired:
    """A block with a connection of the pool. Not a generator: that would double the time to acquire one."""

    __slots__ = ("_connection", "_find_pool", "_manager", "_pool")

    def __init__(self, manager: AsyncDatabaseManager, find_pool: Callable[[], asyncpg.Pool[Any]]) -> None:
        self._manager = manager
        self._find_pool = find_pool
        self._pool: asyncpg.Pool[Any] | None = None
        self._connection: PoolConnectionProxy[asyncpg.Record] | None = None

    async def __aenter__(self) -> PoolConnectionProxy[asyncpg.Record]:
        manager = self._manager
        self._pool = self._find_pool()
        try:
            self._connection = await self._pool.acquire()
        except UNREACHABLE as error:
            config = manager.config
            raise connection_error(config.get_dsn_masked() if config else None, error) from error
        except FAILURES as error:
            raise manager.failure(error, "(acquiring a connection)", ()) from error
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._pool is not None
        assert self._connection is not None
        await release(self._pool, self._connection)
