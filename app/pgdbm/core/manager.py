"""AsyncDatabaseManager: one schema of one database, over an own or a shared pool."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from ..errors import ConfigurationError, PoolError
from .connecting import UNREACHABLE, connection_error
from .creation import create_schema
from .identifiers import check_identifier
from .pool import ConfiguredPool, open_own_pool, open_shared_pool, own_pools
from .queries import FAILURES, Queries
from .rows import as_dicts
from .transaction import TransactionManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    import asyncpg

    from .config import DatabaseConfig
    from .dsn import Target

logger = logging.getLogger("pgdbm")

_MANY_ROWS = 200


class AsyncDatabaseManager(Queries):
    """Queries against one schema.

    With ``config`` it opens a pool of its own at :meth:`connect`. With ``pool`` (see :meth:`create_shared_pool`) it
    uses that one, costs no connection, and is ready at once; ``schema`` (default ``public``) then says which schema
    ``{{tables.x}}`` means. A manager keeps its schema for life: make another manager for another schema.

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
                "Cannot provide both config and pool: give config= for a pool of its own, "
                "or pool= to use one that exists.",
                "pool",
            )
        if config is None and pool is None:
            raise ConfigurationError(
                "Must provide either config or pool: config=DatabaseConfig(...) for a pool of its own, "
                "or pool=await AsyncDatabaseManager.create_shared_pool(config).",
                "config",
            )
        if schema is not None and pool is None:
            raise ConfigurationError(
                "Schema override only valid with external pool: put the schema into the config, "
                "DatabaseConfig(schema=...).",
                "schema",
            )
        self._pool = pool
        self._owns_pool = pool is None
        self._opening = asyncio.Lock()
        self._counted_as: Target | None = None
        self._prepared: dict[str, str] | None = None
        if config is not None:
            self.config: DatabaseConfig | None = config
            self._schema = config.schema_name
        else:
            self.config = pool.config if isinstance(pool, ConfiguredPool) else None
            self._schema = "public" if schema is None else check_identifier(schema)

    @classmethod
    async def create_shared_pool(cls, config: DatabaseConfig) -> asyncpg.Pool[Any]:
        """A pool for many managers: ``AsyncDatabaseManager(pool=pool, schema=...)``. Close it with ``pool.close()``.

        Every connection has ``config.shared_pool_search_path`` pinned, so that an unqualified table name fails
        instead of meaning another service's table.

        Raises:
            ConfigurationError: a proxy dropped the search_path.
            ConnectionError: the server could not be reached.
        """
        return await open_shared_pool(config)

    @property
    def schema(self) -> str | None:
        """The schema that ``{{tables.x}}`` means; None for unqualified names."""
        return self._schema

    @schema.setter
    def schema(self, value: object) -> None:
        raise ConfigurationError(
            f"A manager keeps its schema ({self._schema!r}); it cannot be switched to {value!r}. "
            f"Make another one: AsyncDatabaseManager(pool=pool, schema={value!r}).",
            "schema",
        )

    @property
    def pool(self) -> asyncpg.Pool[Any] | None:
        """The asyncpg pool, or None while not connected."""
        return self._pool

    async def connect(self) -> None:
        """Open the own pool, and create the schema where it is missing. Does nothing when already connected.

        Raises:
            PoolError: the pool is not ours to open.
            ConnectionError: the server could not be reached after ``retry_attempts``.
        """
        if not self._owns_pool:
            raise PoolError("Cannot call connect on an external pool: it is open, use the manager as it is.")
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
                await create_schema(self, self._schema)
        except BaseException:
            await self._close()
            raise

    async def disconnect(self) -> None:
        """Close the own pool; leaves an external one alone. Safe to call twice."""
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

    def acquire(self) -> AbstractAsyncContextManager[Any]:
        """An asyncpg connection of the pool, for the length of the block.

        Raises:
            PoolError: there is no pool, or it is closed.
            ConnectionError: the server could not be reached.
        """
        return _Acquired(self, self._target)

    @property
    def has_direct_connection(self) -> bool:
        """Whether :meth:`acquire_direct` leads anywhere else than :meth:`acquire`."""
        pool = self._pool
        return isinstance(pool, ConfiguredPool) and pool.config.direct_connection_string is not None

    @asynccontextmanager
    async def acquire_direct(self) -> AsyncIterator[Any]:
        """A connection without time limits to ``direct_connection_string``, opened for the length of the block.

        For what needs a session of its own, beside a pool that goes through a transaction pooler. Where the config
        has no such string, or the pool was not made from a config of ours, it is :meth:`acquire`.

        Raises:
            PoolError: there is no pool.
            ConnectionError: the server could not be reached.
        """
        pool = self._target()
        if not isinstance(pool, ConfiguredPool) or pool.config.direct_connection_string is None:
            async with self.acquire() as connection:
                yield connection
            return
        connection = await pool.open_direct()
        try:
            yield connection
        except BaseException:
            connection.terminate()
            raise
        await connection.close()

    def transaction(self) -> TransactionManager:
        """``async with db.transaction() as tx``: a transaction with the same query methods."""
        return TransactionManager(self._schema, self.acquire())

    def add_prepared_statement(self, name: str, query: str) -> None:
        """Remember ``query``, rendered, under ``name``. asyncpg prepares it on each connection at its first use."""
        if self._prepared is None:
            self._prepared = {}
        self._prepared[name] = self.prepare_query(query)

    async def get_pool_stats(self) -> dict[str, Any]:
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

    async def _fetch_dicts(self, sql: str, args: Sequence[Any], timeout: float | None) -> list[dict[str, Any]]:
        pool = self._target()
        connection = await pool.acquire()
        try:
            rows = await connection.fetch(sql, *args, timeout=timeout)
        except BaseException:
            await pool.release(connection)
            raise
        if len(rows) < _MANY_ROWS:
            await pool.release(connection)
            return as_dicts(rows)
        # Giving a connection back is a round trip. Many rows become dicts meanwhile.
        releasing = asyncio.ensure_future(pool.release(connection))
        try:
            # Twice, for the pool to begin, and for the task of its own that it gives it back in.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return as_dicts(rows)
        finally:
            await releasing

    def _target(self) -> Any:
        if self._pool is None:
            raise PoolError("Not connected: call `await db.connect()` first, or use `async with db:`.")
        return self._pool

    def __repr__(self) -> str:
        kind = "own pool" if self._owns_pool else "shared pool"
        return f"<AsyncDatabaseManager schema={self._schema!r} {kind}>"


class _Acquired:
    """A block with a connection of the pool. Written out, since a generator takes as long again as the pool does."""

    __slots__ = ("_connection", "_find_pool", "_manager", "_pool")

    def __init__(self, manager: AsyncDatabaseManager, find_pool: Callable[[], Any]) -> None:
        self._manager = manager
        self._find_pool = find_pool
        self._pool: Any = None
        self._connection: Any = None

    async def __aenter__(self) -> Any:
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
        await self._pool.release(self._connection)
