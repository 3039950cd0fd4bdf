"""Opens the service's connection pool, and repairs it: after an outage, a damaged answer, or dropped tables."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from pgdbm.core.backoff import exponential
from pgdbm.core.config import NEUTRAL_SEARCH_PATH, DatabaseConfig
from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.core.pool import ConfiguredPool
from pgdbm.core.tasks import cancel_and_wait
from pgdbm.dsn import parse_dsn
from pgdbm.errors import SchemaError

from ..errors import ServiceError
from .failures import database_unavailable, is_unavailable, service_schema_forbidden
from .logins import Logins
from .message_checks import check_messages
from .pooler import check_sessions, reason_of
from .queue_schema import SETTINGS, prepare_queue
from .rows import watching_unreadable
from .service_schema import SERVICE_SCHEMA, migrate_service_schema
from .sql import statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..settings import Settings

APPLICATION_NAME = "pgdbm_service"
"""The application_name of every connection of the service."""

LAST_TABLE = (SERVICE_SCHEMA, SETTINGS.queue_table)
"""The table of the service that is created last."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_CLOSE_S = 5.0
_LOCK_TIMEOUT_MS = 2000
_STATEMENTS_KEPT = 400

logger = structlog.get_logger("pgdbm_service")


class Connector:
    """Connects in the background and keeps trying until it succeeds; asyncpg replaces connections that are lost later.

    If the service's own tables are dropped, it creates them again. ``table_id`` identifies those that exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: ConfiguredPool | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._recovering: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[None] | None = None
        self._until_closed = ExitStack()
        self._failure = ServiceError("database_unavailable", "The service has not connected to the database yet.")
        self._on_recreated: list[Callable[[], None]] = []
        self.logins = Logins(settings.logins.values(), settings.login_connections)
        self.table_id: int | None = None
        self.connected = asyncio.Event()

    @property
    def pool(self) -> ConfiguredPool | None:
        """The pool; None before the first connection."""
        return self._pool

    def require_pool(self) -> ConfiguredPool:
        """The pool.

        Raises:
            ServiceError: database_unavailable, before the first connection, with the reason.
        """
        if self._pool is None:
            failure = self._failure
            words = {name: failure.fields.get(name) for name in ("sqlstate", "database_message")}
            raise ServiceError(failure.code, failure.detail, retry_after_s=failure.retry_after_s, **words)
        return self._pool

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
            # The statements of a run stay prepared until the next one, which may follow days later. Those of histories,
            # one for each schema, must not add up.
            statement_cache_size=_STATEMENTS_KEPT,
            max_cached_statement_lifetime=0,
            statement_timeout_ms=max(1, int(timeout_s * 1000)),
            lock_timeout_ms=min(_LOCK_TIMEOUT_MS, max(1, int(timeout_s * 1000))),
            retry_attempts=1,
        )
        config = replace(config, **_beside_a_pooler(self._settings.direct_url))
        logger.info("connecting", database=config.get_dsn_masked())
        self._connecting = asyncio.create_task(self._connect(config), name="connect to the database")
        loop = asyncio.get_running_loop()

        def replace_soon() -> None:
            loop.call_soon_threadsafe(self._replace_soon)

        self._until_closed.enter_context(watching_unreadable(replace_soon))

    async def close(self) -> None:
        """Close the connections. Those in use are closed after 5 s."""
        self._until_closed.close()
        background = (self._connecting, self._recovering, self._replacing)
        await cancel_and_wait(*(task for task in background if task is not None))
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_S):
                    await pool.close()
            except TimeoutError:
                pool.terminate()
        await self.logins.close()

    async def replace_connections(self) -> None:
        """Replace all connections, each one when it is released."""
        if self._pool is not None:
            self._pool.share_types()
            await self._pool.expire_connections()

    def recover_soon(self) -> None:
        """Recreate the service's own tables in the background, unless another replica has done so."""
        if self._recovering is None or self._recovering.done():
            self._recovering = asyncio.create_task(self._recover(), name="create the service schema again")

    def on_recreated(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever the service's own tables were dropped and recreated."""
        self._on_recreated.append(callback)

    def _replace_soon(self) -> None:
        self._replacing = asyncio.create_task(self.replace_connections(), name="replace the connections")

    async def _recover(self) -> None:
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
            await self.replace_connections()
            logger.warning("service schema created again", schema=SERVICE_SCHEMA)
            for callback in self._on_recreated:
                callback()

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
            if self.logins.names:
                await self.logins.open(config, await pool.fetchval(statement("database", "user")))
        except BaseException:
            pool.terminate()
            raise
        return pool

    async def _prepare(self, pool: ConfiguredPool) -> None:
        await migrate_service_schema(pool)
        await prepare_queue(pool)
        self.table_id = await pool.fetchval(statement("database", "table_id"), *LAST_TABLE)


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
