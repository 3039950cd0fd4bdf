"""asyncpg pools made from a DatabaseConfig, with retries while connecting."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg

from ..errors import ConfigurationError, ConnectionError
from . import dsn
from .config import search_path_entries
from .identifiers import quote

if TYPE_CHECKING:
    from .config import DatabaseConfig

logger = logging.getLogger("pgdbm")

# What a retry can cure. A wrong password or a database that does not exist it cannot.
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
)
# The server, or the network, took the connection away under a query.
_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
_REFUSED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.ClientConfigurationError)


class ConfiguredPool(asyncpg.Pool):
    """An asyncpg pool that knows the config it was made from, as ``pool.config``."""

    __slots__ = ("config",)

    config: DatabaseConfig

    def __init__(self, config: DatabaseConfig, server_settings: dict[str, str]) -> None:
        async def run_init_commands(connection: Any) -> None:
            for number, command in enumerate(config.init_commands or (), 1):
                try:
                    await connection.execute(command)
                except asyncpg.PostgresError as error:
                    if isinstance(error, UNREACHABLE):
                        raise
                    raise ConfigurationError(
                        f"Number {number} of init_commands failed: {error}", "init_commands"
                    ) from error

        options: dict[str, Any] = {}
        ssl_context = config.build_ssl_context()
        if ssl_context is not None:
            options["ssl"] = ssl_context
        super().__init__(
            config.get_dsn(),
            min_size=config.min_connections,
            max_size=config.max_connections,
            max_queries=config.max_queries,
            max_inactive_connection_lifetime=config.max_inactive_connection_lifetime,
            init=run_init_commands if config.init_commands else None,
            loop=None,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            command_timeout=config.command_timeout,
            statement_cache_size=config.statement_cache_size,
            server_settings=server_settings,
            **options,
        )
        self.config = config


async def open_own_pool(config: DatabaseConfig) -> ConfiguredPool:
    """A pool for one manager: search_path is the config's schema, then public."""
    return await _open(config, config.get_server_settings())


async def open_shared_pool(config: DatabaseConfig) -> ConfiguredPool:
    """A pool for many managers, with ``shared_pool_search_path`` pinned on every connection.

    Raises:
        ConfigurationError: a proxy between us and the server dropped the search_path.
        ConnectionError: the server could not be reached.
    """
    settings = config.get_server_settings()
    settings.pop("search_path", None)
    if config.shared_pool_search_path is None:
        return await _open(config, settings)
    wanted = search_path_entries(config.shared_pool_search_path)
    settings["search_path"] = ", ".join(quote(entry) for entry in wanted)
    pool = await _open(config, settings)
    try:
        effective = await pool.fetchval("SELECT pg_catalog.current_setting('search_path')")
    except BaseException:
        pool.terminate()
        raise
    if search_path_entries(effective) != wanted:
        pool.terminate()
        raise ConfigurationError(
            f"The connections of the shared pool have search_path {effective!r} instead of {', '.join(wanted)!r}: "
            f"something between here and the server, usually a pooler, drops start-up settings. Let it pass "
            f"search_path on, connect directly, or set shared_pool_search_path=None and qualify every name.",
            "shared_pool_search_path",
        )
    return pool


async def _open(config: DatabaseConfig, server_settings: dict[str, str]) -> ConfiguredPool:
    delay = min(config.retry_delay, config.retry_max_delay)
    for attempt in range(1, config.retry_attempts + 1):
        pool = ConfiguredPool(config, server_settings)
        try:
            await pool
            if not config.min_connections:
                # Nothing has been opened yet.
                async with pool.acquire():
                    pass
        except ValueError as error:
            pool.terminate()
            # Without its text, and without the error itself: both may quote a part of the password.
            raise ConfigurationError(
                f"{config.get_dsn_masked()} cannot be understood. It must be "
                f"postgresql://user:password@host:port/database?parameter=value, with the special characters of every "
                f"part percent-encoded, as urllib.parse.quote(part, safe='') does.{_reason(error)}",
                "connection_string",
            ) from None
        except (*UNREACHABLE, *_REFUSED) as error:
            pool.terminate()
            if attempt == config.retry_attempts or not isinstance(error, UNREACHABLE):
                raise connection_error(config, error, attempt) from error
            logger.warning("Connection attempt %d to %s failed: %s", attempt, config.get_dsn_masked(), error)
            await asyncio.sleep(delay)
            delay = min(delay * config.retry_backoff, config.retry_max_delay)
        except BaseException:
            pool.terminate()
            raise
        else:
            return pool
    raise AssertionError("retry_attempts is at least 1")


def _reason(error: ValueError) -> str:
    known = isinstance(error, asyncpg.ClientConfigurationError) and "'" not in str(error)
    return f" asyncpg says: {error}." if known else ""


def connection_error(config: DatabaseConfig | None, error: BaseException, attempts: int = 1) -> ConnectionError:
    """The ConnectionError for ``error``, saying where to and what to look at; without the password."""
    host, port, database = dsn.target(config.get_dsn_masked()) if config else ("?", "?", "?")
    return ConnectionError(
        f"Cannot connect to database {database!r} on {host}:{port} after {attempts} "
        f"attempt{'' if attempts == 1 else 's'}: {error or type(error).__name__}\n{_advice(error)}",
        details={
            "host": host,
            "port": port,
            "database": database,
            "attempts": attempts,
            "error_type": type(error).__name__,
        },
    )


def _advice(error: BaseException) -> str:
    if isinstance(error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError):
        return "Check user and password, and the server's pg_hba.conf."
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return "The server answers, but has no such database: check the name, or create it with createdb."
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return "The server has no connection left: lower max_connections here or share one pool between services."
    if isinstance(error, asyncpg.CannotConnectNowError):
        return "The server is starting up or shutting down: try again in a moment."
    return "Check that PostgreSQL is running, that host and port are right, and that no firewall is in between."


def is_lost(error: BaseException) -> bool:
    """Whether ``error`` means that the connection is gone, rather than that the server refused something."""
    if isinstance(error, _LOST):
        return True
    if type(error) is not asyncpg.InterfaceError:
        return False
    return "connection is closed" in str(error) or "released back to the pool" in str(error)


def is_alive(connection: Any) -> bool:
    """Whether ``connection`` can still be used. One that died while it was acquired is no longer the pool's."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


class OwnPools:
    """Which databases this process has own pools to, to warn when one pool would have been enough."""

    def __init__(self) -> None:
        self._open: Counter[dsn.Target] = Counter()

    def opened(self, config: DatabaseConfig) -> dsn.Target:
        """Count a pool, with a warning if it is not the first. Returns what :meth:`closed` needs."""
        key = dsn.target(config.get_dsn())
        if self._open[key]:
            logger.warning(
                "Creating another connection pool to %s:%s/%s: this process has %d already. Share one: "
                "pool = await AsyncDatabaseManager.create_shared_pool(config), then "
                "AsyncDatabaseManager(pool=pool, schema=...) for each service.",
                *key,
                self._open[key],
            )
        self._open[key] += 1
        return key

    def closed(self, key: dsn.Target) -> None:
        """Take a pool out of the count."""
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]


own_pools = OwnPools()
