"""The one pool, which may be without a database for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import structlog

from pgdbm.core import dsn
from pgdbm.core.config import DatabaseConfig
from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.core.pool import ConfiguredPool

from .errors import Problem, database_unavailable, own_tables_gone
from .own_schema import OWN_SCHEMA, prepare_own_schema
from .pooler import check_sessions, reason_of
from .queue_tables import SETTINGS, prepare_queue

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    from .settings import Settings

T = TypeVar("T")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CLOSE_S = 5.0
_LOCK_TIMEOUT_MS = 2000
# Made last of all.
_A_TABLE_OF_OURS = f"{OWN_SCHEMA}.{SETTINGS.queue_table}"
_TABLE_ID = "SELECT pg_catalog.to_regclass($1)::oid::bigint AS table_id"
_FITNESS = f"{_TABLE_ID}, pg_catalog.current_setting('transaction_read_only') = 'on' AS read_only"

logger = structlog.get_logger("pgdbm_service")


class PoolNumbers(NamedTuple):
    """Connections that are open, those of them that are in use, and the most that there can be."""

    size: int
    used: int
    max: int


class Database:
    """Connects in the background and tries until it succeeds; asyncpg itself recovers what is lost later."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: asyncpg.Pool[Any] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._failure = "The service has not connected yet."
        self._table_id: int | None = None
        self.connected = asyncio.Event()

    @property
    def failure(self) -> str:
        """Why there is no connection; holds no password."""
        return self._failure

    def begin(self, url: str) -> None:
        """Start connecting to ``url``; returns at once."""
        timeout_s = self._settings.database_timeout_s
        config = DatabaseConfig(
            connection_string=_to_the_leader(url),
            min_connections=self._settings.min_connections,
            max_connections=self._settings.max_connections,
            server_settings={"application_name": "pgdbm_service"},
            connect_timeout=timeout_s,
            command_timeout=timeout_s,
            statement_timeout_ms=max(1, int(timeout_s * 1000)),
            lock_timeout_ms=min(_LOCK_TIMEOUT_MS, max(1, int(timeout_s * 1000))),
            retry_attempts=1,
            **_past_the_pooler(self._settings.direct_url),
        )
        logger.info("connecting", database=config.get_dsn_masked())
        self._connecting = asyncio.create_task(self._connect(config), name="connect to the database")

    async def close(self) -> None:
        """Give the connections back; those that are in use are cut off after a moment."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        for task in self._abandoned:
            task.cancel()
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    def manager(self, schema: str = "public") -> AsyncDatabaseManager:
        """A manager of ``schema`` on the pool; costs nothing.

        Raises:
            Problem: database_unavailable, while there has been no connection yet.
        """
        if self._pool is None:
            raise database_unavailable()
        return AsyncDatabaseManager(pool=self._pool, schema=schema)

    def pool_numbers(self) -> PoolNumbers:
        """How full the pool is; empty while there has been no connection yet."""
        pool = self._pool
        if pool is None:
            return PoolNumbers(0, 0, self._settings.max_connections)
        size = pool.get_size()
        return PoolNumbers(size, size - pool.get_idle_size(), pool.get_max_size())

    async def open_connection(self) -> asyncpg.Connection[Any]:
        """A connection beside the pool, past a pooler, without its time limits; whoever asks for it ends it.

        Raises:
            Problem: database_unavailable, while there has been no connection yet.
        """
        if self._pool is None:
            raise database_unavailable()
        assert isinstance(self._pool, ConfiguredPool)
        connection: asyncpg.Connection[Any] = await self._pool.open_direct()
        return connection

    async def within_limit(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, or a Problem after ``database_timeout_s``.

        Work that is late is cancelled but not waited for: on a dead network even its end can take long.
        """
        # Less than half of what asyncio.wait does: this is done for every request.
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        over = loop.create_future()
        timer = loop.call_later(self._settings.database_timeout_s, _set, over)
        task.add_done_callback(lambda _: _set(over))
        try:
            await over
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        finally:
            timer.cancel()
        if not task.done():
            self._abandon(task)
            raise Problem(
                "database_unavailable",
                f"The database did not answer within {self._settings.database_timeout_s:g} s.",
            )
        return task.result()

    async def check(self) -> None:
        """Raise unless the database answers now."""
        await self.within_limit(self.manager().fetch_value("SELECT 1"))

    async def check_fit(self) -> None:
        """Raise unless the database answers now, takes writes, and has the service's own tables.

        Raises:
            Problem: database_unavailable.
        """
        found = await self.within_limit(self.manager().fetch_one(_FITNESS, _A_TABLE_OF_OURS))
        assert found is not None
        if found["read_only"]:
            raise Problem("database_unavailable", "The server takes no writes: it is a standby, or set to read-only.")
        self._compare(found["table_id"])

    async def check_tables(self, connection: PoolConnectionProxy[Any]) -> None:
        """Raise where the service's own tables are no longer those that this process found or made.

        Raises:
            Problem: database_unavailable.
            asyncpg.PostgresError: as ``connection`` does.
        """
        self._compare(await connection.fetchval(_TABLE_ID, _A_TABLE_OF_OURS))

    def _compare(self, table_id: int | None) -> None:
        if table_id != self._table_id:
            # What was made anew under this process is not what its connections and its queue know.
            raise own_tables_gone()

    async def _prepare(self, pool: asyncpg.Pool[Any]) -> None:
        assert isinstance(pool, ConfiguredPool)
        try:
            async with asyncio.timeout(self._settings.database_timeout_s):
                await check_sessions(pool)
            await prepare_own_schema(pool)
            await prepare_queue(pool)
            self._table_id = await pool.fetchval(_TABLE_ID, _A_TABLE_OF_OURS)
        except BaseException:
            pool.terminate()
            raise
        self._pool = pool

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()

    async def _connect(self, config: DatabaseConfig) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(self._settings.database_timeout_s):
                    pool = await AsyncDatabaseManager.create_shared_pool(config)
                await self._prepare(pool)
            except TimeoutError:
                self._failure = "The server did not answer in time."
            except Exception as error:
                reason = reason_of(error)
                if reason is None:
                    reason = f"Connecting failed ({type(error).__name__}); the log has more."
                    logger.error("connecting failed", exc_info=error)
                self._failure = reason
            else:
                logger.info("connected", database=config.get_dsn_masked())
                self.connected.set()
                return
            logger.warning("no database yet", reason=self._failure, retry_in_s=round(pause, 2))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _past_the_pooler(direct_url: str | None) -> dict[str, Any]:
    """What a config needs beside a pooler of transactions: there neither a setting nor a statement is the session's."""
    if direct_url is None:
        return {}
    return {
        "direct_connection_string": _to_the_leader(direct_url),
        "statement_cache_size": 0,
        "shared_pool_search_path": None,
    }


def _to_the_leader(url: str) -> str:
    """``url``; of several hosts it takes the one that can be written to, unless it says which it wants."""
    if not dsn.hosts_in(url) or dsn.target_session_attrs(url):
        return url
    return f"{url}{'&' if '?' in url else '?'}target_session_attrs=read-write"
