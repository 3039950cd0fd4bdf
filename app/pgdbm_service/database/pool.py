"""The database as the rest of the service uses it: managers on the pool, time limits, and checks."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

from pgdbm.core.manager import AsyncDatabaseManager

from ..errors import ServiceError
from .connector import LAST_TABLE, Connector
from .failures import (
    is_lock_timeout,
    is_not_understood,
    misses_service_schema,
    service_schema_forbidden,
    service_schema_missing,
    table_locked,
)
from .idle import Idle
from .service_schema import SERVICE_SCHEMA
from .sql import statement

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import asyncpg

    from pgdbm.core.connection import Connection

    from ..settings import Settings
    from .logins import LoginNumbers

T = TypeVar("T")

_NAMING_S = 1.0
_SCHEMAS_IN_TIMEOUT = 1000
# The library's tables, in the schemas of modules.
_TABLES_IN_MODULES = ("schema_migrations", "pgdbm_journal", "pgdbm_snapshots", "pgdbm_backfills")


class TablesReplacedError(Exception):
    """The service's own tables were dropped and created again."""


class PoolNumbers(NamedTuple):
    """How many connections are open and in use, and the maximum."""

    size: int
    used: int
    max: int


class Database:
    """The pool that a :class:`~pgdbm_service.database.connector.Connector` opens and repairs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connector = Connector(settings)
        self._abandoned: set[asyncio.Task[object]] = set()
        self.idle = Idle(settings.pause_after_idle_s)

    def begin(self, url: str) -> None:
        """Start connecting to ``url``; does not wait for it."""
        self._connector.begin(url)

    def on_recreated(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever the service's own tables were dropped and recreated."""
        self._connector.on_recreated(callback)

    @property
    def connected(self) -> asyncio.Event:
        """Set as soon as the pool is open."""
        return self._connector.connected

    @property
    def table_id(self) -> int | None:
        """Identifies the service's own tables, for :meth:`check_tables`; None before the first connection."""
        return self._connector.table_id

    async def close(self) -> None:
        """Close the connections. Those in use are closed after 5 s."""
        for task in self._abandoned:
            task.cancel()
        await self._connector.close()

    @property
    def login_names(self) -> list[str]:
        """The separate database logins of modules."""
        return self._connector.logins.names

    def manager(self, schema: str = "public", *, login: str | None = None) -> AsyncDatabaseManager:
        """A manager of ``schema`` on the pool, or on the connections of ``login``; cheap to create.

        Raises:
            ServiceError: database_unavailable, before the first connection.
        """
        pool = self._connector.require_pool()
        if login is not None:
            return self._connector.logins.manager(login, schema)
        return AsyncDatabaseManager(pool=pool, schema=schema)

    def pool_numbers(self) -> PoolNumbers:
        """How full the pool is; all zero before the first connection."""
        pool = self._connector.pool
        if pool is None:
            return PoolNumbers(0, 0, self._settings.max_connections)
        size = pool.get_size()
        return PoolNumbers(size, size - pool.get_idle_size(), pool.get_max_size())

    def login_numbers(self) -> dict[str, LoginNumbers]:
        """How full the pools of the logins are, by login; empty before the first connection."""
        return self._connector.logins.numbers()

    async def open_connection(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection outside the pool, not through a pooler, and without time limits. The caller closes it.

        Raises:
            ServiceError: database_unavailable, before the first connection.
        """
        return await self._connector.require_pool().open_direct()

    async def with_timeout(self, work: Coroutine[Any, Any, T], schemas: int = 1) -> T:
        """The result of ``work``, or a ServiceError after ``database_timeout_s``.

        Work that reads the histories of many ``schemas`` has that time for each thousand of them.

        Work that is late is cancelled, but not waited for: on a dead network even the cancellation can take long.
        """
        # It takes less than half the time of asyncio.wait, and it is used in every request.
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        task = loop.create_task(_ending(work, over))
        limit_s = self._settings.database_timeout_s * (1 + schemas // _SCHEMAS_IN_TIMEOUT)
        timer = loop.call_later(limit_s, _set, over)
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
                self._connector.recover_soon()
            if is_not_understood(error) or isinstance(error, LookupError | TypeError):
                # A connection keeps the description of a statement's columns, so no later answer would be understood.
                await self._connector.replace_connections()
            holder = await self._holder() if is_lock_timeout(error) else None
            if holder is not None:
                raise table_locked(holder) from error
            raise

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
        found = await self.with_timeout(self.manager().fetch_one(statement("database", "fitness"), *LAST_TABLE))
        assert found is not None
        if found["read_only"]:
            raise ServiceError(
                "database_unavailable", "The server accepts no writes: it is a standby, or set to read-only."
            )
        if found["table_id"] != self.table_id:
            self._connector.recover_soon()
            raise service_schema_missing()
        if found["forbidden"]:
            raise service_schema_forbidden(f"permission denied for {', '.join(found['forbidden'])}")

    async def check_tables(self, connection: Connection, table_id: int | None) -> None:
        """Raise unless the service's own tables are still the ones with ``table_id``, an earlier :attr:`table_id`.

        Raises:
            TablesReplacedError: they are not.
            asyncpg.PostgresError: as ``connection`` does.
        """
        if await connection.fetchval(statement("database", "table_id"), *LAST_TABLE) != table_id:
            self._connector.recover_soon()
            raise TablesReplacedError

    def _abandon(self, task: asyncio.Task[object]) -> None:
        self._abandoned.add(task)
        task.add_done_callback(self._retrieve)
        task.cancel()

    def _retrieve(self, task: asyncio.Task[object]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()


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
    def bounded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self._database.with_timeout(method(self, *args, **kwargs))

    return bounded


async def _ending(work: Coroutine[Any, Any, T], over: asyncio.Future[None]) -> T:
    """The result of ``work``, at whose end ``over`` is done: one turn of the loop before a callback of the task."""
    try:
        return await work
    finally:
        _set(over)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
