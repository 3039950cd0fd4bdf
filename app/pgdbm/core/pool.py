"""asyncpg pools made from a DatabaseConfig, with retries while connecting."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from ..errors import ConfigurationError
from . import dsn
from .config import search_path_entries
from .connecting import (
    UNREACHABLE,
    check_files,
    connect,
    connect_options,
    connection_error,
    is_worth_retrying,
    run_init_commands,
)
from .identifiers import quote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .config import DatabaseConfig

Opened = TypeVar("Opened")

logger = logging.getLogger("pgdbm")

# The server, or the network, took the connection away under a query.
_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)
# A host that vanished while it held the migration lock should not hold it for the two hours of the default. On pools it
# is left to the user, because poolers refuse start-up settings that they do not know.
_SERVER_KEEPALIVES = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
_REFUSED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.ClientConfigurationError)


class ConfiguredPool(asyncpg.Pool):
    """An asyncpg pool that knows the config it was made from, as ``pool.config``."""

    __slots__ = ("_server_settings", "config")

    config: DatabaseConfig

    def __init__(self, config: DatabaseConfig, server_settings: dict[str, str]) -> None:
        super().__init__(
            config.get_dsn(),
            min_size=config.min_connections,
            max_size=config.max_connections,
            max_queries=config.max_queries,
            max_inactive_connection_lifetime=config.max_inactive_connection_lifetime,
            connect=connect,
            init=partial(run_init_commands, config) if config.init_commands else None,
            loop=None,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            **connect_options(config, server_settings),
        )
        self.config = config
        self._server_settings = server_settings

    async def open_direct(self) -> Any:
        """A connection of its own, with the settings of this pool's, but for the time limits: to
        ``direct_connection_string``, or where there is none, to where the pool's connections go.

        Raises:
            ConnectionError: the server could not be reached.
            ConfigurationError: the string cannot be understood, or an init command failed.
        """
        config = self.config
        field = "connection_string" if config.direct_connection_string is None else "direct_connection_string"
        address = config.direct_connection_string or config.get_dsn()
        named = dsn.settings_in(address) - {"statement_timeout"}
        settings = {name: value for name, value in self._server_settings.items() if name not in named}
        settings["statement_timeout"] = "0"
        for name, value in _SERVER_KEEPALIVES.items():
            if name not in named:
                settings.setdefault(name, value)
        check_files(address, field)
        options = connect_options(config, settings) | {"command_timeout": None}

        async def attempt() -> Any:
            connection = await connect(address, **options)
            try:
                await run_init_commands(config, connection)
            except BaseException:
                connection.terminate()
                raise
            return connection

        return await _with_retries(config, dsn.mask(address), field, attempt)


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
            f"search_path on, set it on the server (ALTER ROLE ... SET search_path = ...), connect directly, or set "
            f"shared_pool_search_path=None and qualify every name.",
            "shared_pool_search_path",
        )
    return pool


async def _open(config: DatabaseConfig, server_settings: dict[str, str]) -> ConfiguredPool:
    check_files(config.get_dsn(), "connection_string")

    async def attempt() -> ConfiguredPool:
        pool = ConfiguredPool(config, server_settings)
        try:
            await pool
            if not config.min_connections:
                # Nothing has been opened yet.
                async with pool.acquire():
                    pass
        except BaseException:
            pool.terminate()
            raise
        return pool

    return await _with_retries(config, config.get_dsn_masked(), "connection_string", attempt)


async def _with_retries(
    config: DatabaseConfig, masked_dsn: str, field: str, attempt: Callable[[], Awaitable[Opened]]
) -> Opened:
    delay = min(config.retry_delay, config.retry_max_delay)
    for number in range(1, config.retry_attempts + 1):
        try:
            return await attempt()
        except (*UNREACHABLE, *_REFUSED, ValueError) as error:
            if isinstance(error, ValueError) and not isinstance(error, ssl.SSLError):
                # Without its text, and without the error itself: both may quote a part of the password.
                raise ConfigurationError(
                    f"{masked_dsn} cannot be understood. It must be "
                    f"postgresql://user:password@host:port/database?parameter=value, with the special characters of "
                    f"every part percent-encoded, as urllib.parse.quote(part, safe='') does.{_reason(error)}",
                    field,
                ) from None
            if number == config.retry_attempts or not is_worth_retrying(error):
                raise connection_error(masked_dsn, error, number) from error
            logger.warning("Connection attempt %d to %s failed: %s", number, masked_dsn, error)
            await asyncio.sleep(delay)
            delay = min(delay * config.retry_backoff, config.retry_max_delay)
    raise AssertionError("retry_attempts is at least 1")


def _reason(error: ValueError) -> str:
    known = isinstance(error, asyncpg.ClientConfigurationError) and "'" not in str(error)
    return f" asyncpg says: {error}." if known else ""


def is_lost(error: BaseException) -> bool:
    """Whether ``error`` means that the connection is gone, rather than that the server refused something."""
    if isinstance(error, _LOST):
        return True
    if isinstance(error, asyncpg.InternalClientError):
        # The server's goodbye came between two queries, and the connection has not noticed its end yet; or the pool has
        # noticed it while the connection was being given back.
        return "cannot switch to state" in str(error) or "free connection holder" in str(error)
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
