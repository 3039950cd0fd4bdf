"""The connection pool, which tolerates a database that is unavailable for some time."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

import structlog

from pgdbm.core.backoff import exponential
from pgdbm.core.config import NEUTRAL_SEARCH_PATH, DatabaseConfig
from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.core.pool import ConfiguredPool
from pgdbm.dsn import parse_dsn
from pgdbm.errors import SchemaError

from ..errors import ServiceError
from .failures import (
    database_unavailable,
    is_lock_timeout,
    is_not_understood,
    is_unavailable,
    misses_service_schema,
    service_schema_forbidden,
    service_schema_missing,
    table_locked,
)
from .idle import Idle
from .logins import LoginNumbers, Logins
from .message_checks import check_messages
from .pooler import check_sessions, reason_of
from .queue_schema import SETTINGS, prepare_queue
from .rows import watching_unreadable
from .service_schema import SERVICE_SCHEMA, migrate_service_schema
from .sql import statement

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import asyncpg

    from pgdbm.core.connection import Connection

    from ..settings import Settings

T = TypeVar("T")

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CLOSE_S = 5.0
_LOCK_TIMEOUT_MS = 2000
_NAMING_S = 1.0
_SCHEMAS_IN_TIMEOUT = 1000
# The library's tables, in the schemas of modules.
_TABLES_IN_MODULES = ("schema_migrations", "pgdbm_journal", "pgdbm_snapshots", "pgdbm_backfills")
# The table that is created last.
_LAST_TABLE = (SERVICE_SCHEMA, SETTINGS.queue_table)

APPLICATION_NAME = "pgdbm_service"
"""The application_name of every connection of the service."""

logger = structlog.get_logger("pgdbm_service")


class TablesReplacedError(Exception):
    """The service's own tables were dropped and created again."""


class PoolNumbers(NamedTuple):
    """How many connections are open and in use, and the maximum."""

    size: int
    used: int
    max: int


class Database:
    """The pool. It connects in the background and keeps trying until it succeeds; asyncpg replaces connections that are
    lost later.

    If the service's own tables are dropped, it creates them again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.idle = Idle(settings.pause_after_idle_s)
        self._pool: ConfiguredPool | None = None
        self._logins = Logins(settings.logins.values(), settings.login_connections)
        self._connecting: asyncio.Task[None] | None = None
        self._recovering: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[object]] = set()
        self._until_closed = ExitStack()
        self._failure = ServiceError("database_unavailable", "The service has not connected to the database yet.")
        self.table_id: int | None = None
        self._on_recreated: list[Callable[[], None]] = []
        self.connected = asyncio.Event()

    def begin(self, url: str) -> None:
        """Start connecting to ``url``; does not wait for it."""
        check_messages()
        timeout_s = self._settings.database_timeout_s
        config = DatabaseConfig(
            connection_string=_to_the_leader(url),
            # The pool replaces lost connections, which would resume a suspended database.
            min_connections=self._settings.min_connections if self._settings.pause_after_idle_s is None else 0,
            max_connections=self._settings.max_connections,
            server_settings={"application_name": APPLICATION_NAME},
            connect_timeout=timeout_s,
            command_timeout=timeout_s,
            statement_timeout_ms=max(1, int(timeout_s * 1000)),
            lock_timeout_ms=min(_LOCK_TIMEOUT_MS, max(1, int(timeout_s * 1000))),
            retry_attempts=1,
            **_beside_a_pooler(self._settings.direct_url),
        )
        logger.info("connecting", database=config.get_dsn_masked())
        self._connecting = asyncio.create_task(self._connect(config), name="connect to the database")
        loop = asyncio.get_running_loop()

        def replace_soon() -> None:
            loop.call_soon_threadsafe(self._replace_soon)

        self._until_closed.enter_context(watching_unreadable(replace_soon))

    async def close(self) -> None:
        """Close the connections. Those in use are closed after 5 s."""
        self._until_closed.close()
        background = [task for task in (self._connecting, self._recovering, self._replacing) if task is not None]
        for task in (*background, *self._abandoned):
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()
        await self._logins.close()

    @property
    def login_names(self) -> list[str]:
        """The separate database logins of modules."""
        return self._logins.names

    def manager(self, schema: str = "public", *, login: str | None = None) -> AsyncDatabaseManager:
        """A manager of ``schema`` on the pool, or on the connections of ``login``; cheap to create.

        Raises:
            ServiceError: database_unavailable, before the first connection.
        """
        pool = self._open_pool()
        return AsyncDatabaseManager(pool=pool, schema=schema) if login is None else self._logins.manager(login, schema)

    def pool_numbers(self) -> PoolNumbers:
        """How full the pool is; all zero before the first connection."""
        pool = self._pool
        if pool is None:
            return PoolNumbers(0, 0, self._settings.max_connections)
        size = pool.get_size()
        return PoolNumbers(size, size - pool.get_idle_size(), pool.get_max_size())

    def login_numbers(self) -> dict[str, LoginNumbers]:
        """How full the pools of the logins are, by login; empty before the first connection."""
        return self._logins.numbers()

    async def open_connection(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection outside the pool, not through a pooler, and without time limits. The caller closes it.

        Raises:
            ServiceError: database_unavailable, before the first connection.
        """
        return await self._open_pool().open_direct()

    async def with_timeout(self, work: Coroutine[Any, Any, T], schemas: int = 1) -> T:
        """The result of ``work``, or a ServiceError after ``database_timeout_s``.

        Work that reads the histories of many ``schemas`` has that time for each thousand of them.

        Work that is late is cancelled, but not waited for: on a dead network even the cancellation can take long.
        """
        # It takes less than half the time of asyncio.wait, and it is used in every request.
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        over = loop.create_future()
        limit_s = self._settings.database_timeout_s * (1 + schemas // _SCHEMAS_IN_TIMEOUT)
        timer = loop.call_later(limit_s, _set, over)
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
            holder = await self._holder()
            if holder is not None:
                raise table_locked(holder)
            raise ServiceError(
                "database_unavailable",
                f"The database did not answer within {limit_s:g} s.",
            )
        try:
            return task.result()
        except Exception as error:
            if misses_service_schema(error):
                self._recover_soon()
            if is_not_understood(error) or isinstance(error, LookupError | TypeError):
                # A connection keeps the description of a statement's columns, so no later answer would be understood.
                await self.replace_connections()
            holder = await self._holder() if is_lock_timeout(error) else None
            if holder is not None:
                raise table_locked(holder) from error
            raise

    def _replace_soon(self) -> None:
        self._replacing = asyncio.create_task(self.replace_connections(), name="replace the connections")

    async def replace_connections(self) -> None:
        """Replace all connections, each one when it is released."""
        if self._pool is not None:
            self._pool.share_types()
            await self._pool.expire_connections()

    async def _holder(self) -> dict[str, Any] | None:
        """A session that holds a lock on one of the service's own tables, and that table; None if there is none."""
        with suppress(Exception):
            async with asyncio.timeout(_NAMING_S):
                return await self.manager().fetch_one(
                    statement("database", "table_lock"), SERVICE_SCHEMA, list(_TABLES_IN_MODULES)
                )
        return None

    async def server_version(self) -> int:
        """The major version of the server."""
        async with self.manager().acquire() as connection:
            version: int = connection.get_server_version().major
        return version

    async def check(self) -> None:
        """Raise unless the database answers now."""
        await self.with_timeout(self.manager().fetch_value("SELECT 1"))

    async def check_fit(self) -> None:
        """Raise unless the database answers now, accepts writes, and has the service's own tables.

        Raises:
            ServiceError: database_unavailable. Also raises what the database raises.
        """
        found = await self.with_timeout(self.manager().fetch_one(statement("database", "fitness"), *_LAST_TABLE))
        assert found is not None
        if found["read_only"]:
            raise ServiceError(
                "database_unavailable", "The server accepts no writes: it is a standby, or set to read-only."
            )
        if found["table_id"] != self.table_id:
            self._recover_soon()
            raise service_schema_missing()
        if found["forbidden"]:
            raise service_schema_forbidden(f"permission denied for {', '.join(found['forbidden'])}")

    def on_recreated(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever the service's own tables were dropped and recreated."""
        self._on_recreated.append(callback)

    async def check_tables(self, connection: Connection, table_id: int | None) -> None:
        """Raise unless the service's own tables are still the ones with ``table_id``, an earlier :attr:`table_id`.

        Raises:
            TablesReplacedError: they are not.
            asyncpg.PostgresError: as ``connection`` does.
        """
        if await connection.fetchval(statement("database", "table_id"), *_LAST_TABLE) != table_id:
            self._recover_soon()
            raise TablesReplacedError

    def _open_pool(self) -> ConfiguredPool:
        if self._pool is None:
            failure = self._failure
            words = {name: failure.fields.get(name) for name in ("sqlstate", "database_message")}
            raise ServiceError(failure.code, failure.detail, retry_after_s=failure.retry_after_s, **words)
        return self._pool

    async def _prepare(self, pool: ConfiguredPool) -> None:
        await migrate_service_schema(pool)
        await prepare_queue(pool)
        self.table_id = await pool.fetchval(statement("database", "table_id"), *_LAST_TABLE)

    def _recover_soon(self) -> None:
        if self._recovering is None or self._recovering.done():
            self._recovering = asyncio.create_task(self._recover(), name="create the service schema again")

    async def _recover(self) -> None:
        """Recreate the service's own tables, unless another replica has done so."""
        pool, before = self._pool, self.table_id
        if pool is None:
            return
        try:
            await self._prepare(pool)
        except Exception as error:
            logger.warning("service schema not created", reason=_failure_of(error).detail)
            return
        if self.table_id != before:
            # Their prepared statements refer to the dropped tables.
            pool.share_types()
            await pool.expire_connections()
            logger.warning("service schema created again", schema=SERVICE_SCHEMA)
            for callback in self._on_recreated:
                callback()

    def _abandon(self, task: asyncio.Task[object]) -> None:
        self._abandoned.add(task)
        task.add_done_callback(self._retrieve)
        task.cancel()

    def _retrieve(self, task: asyncio.Task[object]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()

    async def _connect(self, config: DatabaseConfig) -> None:
        for pause in exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S):
            try:
                self._pool = await self._open_prepared(config)
            except Exception as error:
                self._failure = _failure_of(error)
            else:
                logger.info("connected", database=config.get_dsn_masked())
                self.connected.set()
                return
            words = self._failure.fields.get("database_message")
            logger.warning(
                "no database yet", reason=self._failure.detail, database_message=words, retry_in_s=round(pause, 2)
            )
            await asyncio.sleep(pause)

    async def _open_prepared(self, config: DatabaseConfig) -> ConfiguredPool:
        async with asyncio.timeout(self._settings.database_timeout_s):
            pool = await AsyncDatabaseManager.create_shared_pool(config)
        assert isinstance(pool, ConfiguredPool)
        pool.share_types()
        try:
            async with asyncio.timeout(self._settings.database_timeout_s):
                await check_sessions(pool)
            await self._prepare(pool)
            if self._logins.names:
                await self._logins.open(config, await pool.fetchval(statement("database", "user")))
        except BaseException:
            pool.terminate()
            raise
        return pool


def _failure_of(error: Exception) -> ServiceError:
    """Why the service cannot use the database."""
    if isinstance(error, TimeoutError):
        return ServiceError("database_unavailable", "The database server did not answer in time.")
    reason = reason_of(error)
    if reason is not None:
        return ServiceError("database_unavailable", reason)
    if is_unavailable(error):
        return database_unavailable(error)
    if isinstance(error, SchemaError):
        return service_schema_forbidden(error.message.splitlines()[0])
    logger.error("connecting failed", exc_info=error)
    return ServiceError(
        "database_unavailable", f"Connecting to the database failed ({type(error).__name__}). The log has the error."
    )


class _UsesDatabase(Protocol):
    _database: Database


P = ParamSpec("P")
S = TypeVar("S", bound=_UsesDatabase)


def within_timeout(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """A method of an object with a ``_database`` that runs in :meth:`Database.with_timeout`.

    A handler then needs only that object: Litestar opens a task group to inject two, which takes a fifth of the time
    of a short call.
    """

    @wraps(method)
    async def bounded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._database.with_timeout(method(self, *args, **kwargs))

    return bounded


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _beside_a_pooler(direct_url: str | None) -> dict[str, Any]:
    """The settings of a pool behind a transaction pooler, where neither settings nor prepared statements belong to a
    session."""
    if direct_url is None:
        return {}
    return {
        "direct_connection_string": _to_the_leader(direct_url),
        "statement_cache_size": 0,
        "shared_pool_search_path": None,
        # The service's own statements must not call functions and operators that other users created.
        "transaction_search_path": NEUTRAL_SEARCH_PATH,
    }


def _to_the_leader(url: str) -> str:
    """``url``, made to select the writable host if it has several, unless it has its own selection."""
    parsed = parse_dsn(url)
    if len(parsed.hosts) < 2 or parsed.target_session_attrs:
        return url
    return parsed.with_parameters(target_session_attrs="read-write")
