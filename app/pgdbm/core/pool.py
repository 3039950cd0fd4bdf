"""asyncpg pools for a DatabaseConfig, with retries while connecting."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from contextvars import ContextVar
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, overload

import asyncpg

from ..dsn import Target, mask, parse_dsn, target
from ..errors import ConfigurationError, ConnectionError
from ..text import sentence
from .asyncpg_errors import FAILURES, UNREACHABLE, is_limit_reached, is_worth_retrying, unknown_setting
from .backoff import exponential
from .config import search_path_entries
from .connecting import check_dsn, connect, connect_options, connection_error, run_init_commands
from .connection import UTF8
from .templating import quote
from .transaction_search_path import connection_class
from .type_introspection import pool_connection_class

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg.pool import PoolConnectionProxy

    from .config import DatabaseConfig
    from .connection import Connection

Opened = TypeVar("Opened")

logger = logging.getLogger("pgdbm")

# A peer that vanishes while it holds the migration lock must not hold it for the two hours of the default. On pools
# they are left to the user, because poolers refuse unknown startup settings.
_SERVER_KEEPALIVES = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
# A fraction of connect_timeout, so that the reason is reported before the callers' own timeouts expire.
_SHARE_OF_WAITING = 0.8
_REFUSED = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.ClientConfigurationError)


# After RESET ALL. Through a pooler, the session then has the encoding of the role or the database, instead of the one
# that asyncpg requested when it connected; with an encoding other than UTF-8, asyncpg would send memory that it has
# freed.
_SET_UTF8 = "SET client_encoding = 'UTF8';"

_acquire = vars(asyncpg.Pool)["_acquire"]
_OTHER_WAYS = (
    "A search_path for all connections can also be set in the pooler, which has to pass the settings of the startup "
    "packet, or on the server with ALTER ROLE ... SET search_path = ...; pg_settings.source shows which of them is in "
    "effect."
)


_keeps_session: ContextVar[bool] = ContextVar("keeps_session", default=False)


class without_reset:  # noqa: N801 - used like a function
    """A block from which connections go back to a ConfiguredPool without a statement that resets their session.

    Meant for frequent statements that leave nothing behind in the session.
    """

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token = _keeps_session.set(True)

    def __exit__(self, *_: object) -> None:
        _keeps_session.reset(self._token)


async def _reset(connection: Connection) -> None:
    if _keeps_session.get():
        return
    query = connection.get_reset_query()
    if query:
        settings = connection.get_settings()
        # The server reports both. In a database with UTF-8 another encoding, of the role for example, is rare enough
        # for a message of its own.
        if getattr(settings, "server_encoding", None) not in UTF8:
            query = f"{query}\n{_SET_UTF8}"
        await connection.execute(query)
        if settings.client_encoding not in UTF8:
            await connection.execute(_SET_UTF8)


class ConfiguredPool(asyncpg.Pool):
    """An asyncpg pool with the config that it was created from, as ``pool.config``.

    Once it is open, a failure to open another connection is a ConnectionError, not a QueryError. If the server accepts
    no more connections, the pool serves its callers with the ones it has.
    """

    __slots__ = ("_connection_type", "_server_settings", "config", "is_open")

    config: DatabaseConfig
    # A private method: asyncpg has no public hook for a connection that a pool cannot open.
    _queue: asyncio.LifoQueue[Any]

    def __init__(self, config: DatabaseConfig, server_settings: dict[str, str]) -> None:
        self._connection_type = pool_connection_class(connection_class(config.transaction_search_path))
        super().__init__(
            config.get_dsn(),
            min_size=config.min_connections,
            max_size=config.max_connections,
            max_queries=config.max_queries,
            max_inactive_connection_lifetime=config.max_inactive_connection_lifetime,
            connect=self._open_connection,
            init=partial(run_init_commands, config) if config.init_commands else None,
            reset=_reset,
            loop=None,
            connection_class=self._connection_type,
            record_class=asyncpg.Record,
            **connect_options(config, server_settings),
        )
        self.config = config
        self.is_open = False
        self._server_settings = server_settings

    @property
    def search_path(self) -> str | None:
        """The search_path of its transactions; None for the server's."""
        return self.config.transaction_search_path or self._server_settings.get("search_path")

    def share_types(self) -> None:
        """From now on, query the server for the description of a type once, and not once per connection.

        Only for a pool whose owner notices when it is connected to another database, and then calls this again.
        """
        self._connection_type.shared_types = {}

    async def _open_connection(self, *args: Any, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
        try:
            return await connect(*args, **options)
        except (*UNREACHABLE, *_REFUSED, ValueError) as error:
            if not self.is_open:
                raise
            raise connection_error(self.config.get_dsn_masked(), error) from error

    async def _acquire(self, timeout: float | None) -> PoolConnectionProxy[asyncpg.Record]:
        """Like asyncpg's, which its ``acquire`` and its queries call. With the server's limit reached, it waits."""
        began = monotonic()
        try:
            connection: PoolConnectionProxy[asyncpg.Record] = await _acquire(self, timeout)
            return connection
        except ConnectionError as error:
            if not is_limit_reached(error.__cause__):
                raise
            return await self._acquire_open(timeout, began, error)

    async def _acquire_open(
        self, timeout: float | None, began: float, refusal: ConnectionError
    ) -> PoolConnectionProxy[asyncpg.Record]:
        """Wait for a connection that is open already; ``refusal``: the server refused to open another."""
        left = self.config.connect_timeout * _SHARE_OF_WAITING - (monotonic() - began)
        deadline = asyncio.get_running_loop().time() + left
        unopened: list[Any] = []
        try:
            while is_limit_reached(refusal.__cause__) and len(unopened) + 1 < self.get_max_size():
                # asyncpg has put the holder back, and would try to open a connection for it again.
                holder = self._queue.get_nowait()
                if holder.is_connected():
                    self._queue.put_nowait(holder)
                else:
                    unopened.append(holder)
                try:
                    async with asyncio.timeout_at(deadline):
                        connection: PoolConnectionProxy[asyncpg.Record] = await _acquire(self, timeout)
                        return connection
                except ConnectionError as error:
                    refusal = error
                except TimeoutError:
                    raise refusal from refusal.__cause__
            raise refusal
        finally:
            for holder in unopened:
                self._queue.put_nowait(holder)

    async def open_direct(self) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection outside the pool, with the pool's settings but without time limits.

        It goes to ``direct_connection_string``, or to the pool's server if there is none.

        Raises:
            ConnectionError: the server could not be reached.
            ConfigurationError: the string is invalid, or an init command failed.
        """
        config = self.config
        field = "connection_string" if config.direct_connection_string is None else "direct_connection_string"
        address = config.direct_connection_string or config.get_dsn()
        check_dsn(address, field)
        named = parse_dsn(address, field).names_of_settings - {"statement_timeout"}
        settings = {name: value for name, value in self._server_settings.items() if name not in named}
        settings["statement_timeout"] = "0"
        path = _as_sql(config.transaction_search_path)
        if path is not None and "search_path" not in named:
            settings["search_path"] = path
        for name, value in _SERVER_KEEPALIVES.items():
            if name not in named:
                settings.setdefault(name, value)
        options = connect_options(config, settings) | {"command_timeout": None}

        async def attempt() -> asyncpg.Connection[asyncpg.Record]:
            connection = await connect(address, **options)
            try:
                await run_init_commands(config, connection)
            except BaseException:
                connection.terminate()
                raise
            return connection

        return await _with_retries(config, mask(address), field, attempt)


async def open_own_pool(config: DatabaseConfig) -> ConfiguredPool:
    """A pool for one manager; search_path is the config's schema, then public."""
    return await _open(config, config.get_server_settings())


async def open_shared_pool(config: DatabaseConfig) -> ConfiguredPool:
    """A pool for many managers, with ``shared_pool_search_path`` pinned on every connection.

    Raises:
        ConfigurationError: a proxy dropped the search_path.
        ConnectionError: the server could not be reached.
    """
    settings = config.get_server_settings()
    own = (config.server_settings or {}).get("search_path")
    if own is None:
        settings.pop("search_path", None)
    if config.shared_pool_search_path is None:
        return await _open(config, settings)
    wanted = search_path_entries(config.shared_pool_search_path)
    if own is not None and search_path_entries(own) != wanted:
        raise ConfigurationError(
            f"server_settings has search_path {own!r}, and shared_pool_search_path is "
            f"{config.shared_pool_search_path!r}. Remove it from server_settings, or set shared_pool_search_path=None "
            f"to use it. {_OTHER_WAYS}",
            "shared_pool_search_path",
        )
    settings["search_path"] = _as_sql(config.shared_pool_search_path)
    pool = await _open(config, settings)
    try:
        with without_reset():
            effective = await pool.fetchval("SELECT pg_catalog.current_setting('search_path')")
    except BaseException:
        pool.terminate()
        raise
    if search_path_entries(effective) != wanted:
        pool.terminate()
        raise ConfigurationError(
            f"The connections of the shared pool have search_path {effective!r} instead of {', '.join(wanted)!r}: "
            f"a proxy, usually a pooler, drops the settings of the startup packet. Set shared_pool_search_path=None "
            f"and qualify every name, or connect directly. {_OTHER_WAYS}",
            "shared_pool_search_path",
        )
    return pool


@overload
def _as_sql(search_path: str) -> str: ...


@overload
def _as_sql(search_path: str | None) -> str | None: ...


def _as_sql(search_path: str | None) -> str | None:
    """``search_path`` for the startup packet. It is only quoted where necessary: SHOW returns it as it was set."""
    if search_path is None:
        return None
    return ", ".join(entry if entry.islower() else quote(entry) for entry in search_path_entries(search_path))


async def _open(config: DatabaseConfig, server_settings: dict[str, str]) -> ConfiguredPool:
    check_dsn(config.get_dsn(), "connection_string")

    async def attempt() -> ConfiguredPool:
        pool = ConfiguredPool(config, server_settings)
        try:
            await pool
            if not config.min_connections:
                # The pool opens its first connection here.
                async with pool.acquire():
                    pass
        except BaseException:
            pool.terminate()
            raise
        pool.is_open = True
        return pool

    return await _with_retries(config, config.get_dsn_masked(), "connection_string", attempt)


async def _with_retries(
    config: DatabaseConfig, masked_dsn: str, field: str, attempt: Callable[[], Awaitable[Opened]]
) -> Opened:
    pauses = exponential(config.retry_delay, config.retry_max_delay, factor=config.retry_backoff)
    for number, pause in enumerate(pauses, 1):
        try:
            return await attempt()
        except (*UNREACHABLE, *_REFUSED, ValueError) as error:
            setting = unknown_setting(error)
            if setting is not None:
                raise ConfigurationError(
                    f"{field}: the server has no setting {setting!r}, and libpq no parameter of that name: remove it "
                    f"from the connection string or from server_settings.",
                    field,
                ) from error
            if isinstance(error, ValueError) and not isinstance(error, ssl.SSLError):
                # Without its text and without the error itself: both may quote part of the password.
                raise ConfigurationError(f"{field}: asyncpg cannot use {masked_dsn}.{_reason(error)}", field) from None
            if number == config.retry_attempts or not is_worth_retrying(error):
                raise connection_error(masked_dsn, error, number) from error
            logger.warning("Connection attempt %d to %s failed: %s", number, masked_dsn, error)
            await asyncio.sleep(pause)
    raise AssertionError("the pauses never end")


def _reason(error: ValueError) -> str:
    known = isinstance(error, asyncpg.ClientConfigurationError) and "'" not in str(error)
    return sentence(f" It says: {error}") if known else ""


async def release(pool: asyncpg.Pool[Any], connection: PoolConnectionProxy[asyncpg.Record]) -> None:
    """Give ``connection`` back to ``pool``, as the pool's own method does.

    That one does it in a task, so that a cancelled caller does not interrupt the reset of the session. In a block
    :class:`without_reset` this does it without a task.

    If the connection is lost at that moment, the pool closes it, and nothing is raised: it would hide what the queries
    before have returned or raised, which may be a cancellation.
    """
    held: Any = getattr(connection, "_con", None)
    holder: Any = getattr(connection, "_holder", None)
    try:
        if held is None or holder is None or not isinstance(pool, ConfiguredPool) or not _keeps_session.get():
            await pool.release(connection)
        else:
            held._on_release()  # noqa: SLF001 - the pool's own method calls it first, too
            await holder.release(None)
    except FAILURES as error:
        logger.debug("A connection was lost while it was given back to the pool: %s", error)


class OwnPools:
    """The databases for which managers of this process have separate pools, to warn if one would be enough."""

    def __init__(self) -> None:
        self._open: Counter[Target] = Counter()

    def opened(self, config: DatabaseConfig) -> Target:
        """Count a pool, with a warning if it is not the first. Returns the key for :meth:`closed`."""
        key = target(config.get_dsn())
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

    def closed(self, key: Target) -> None:
        """Stop counting a pool."""
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]


own_pools = OwnPools()
