"""Connections for the database logins that modules have instead of the service's database user.

Each login has a small pool, whose connections are opened on demand and closed when idle. A connection is refused if the
login does not isolate its module: if its sessions could read the service schema, or become another user.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import structlog

from pgdbm import errors as library
from pgdbm.core.config import NEUTRAL_SEARCH_PATH
from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.core.pool import ConfiguredPool
from pgdbm.dsn import parse_dsn
from pgdbm.migrations.engine.notices import limit_messages

from .service_schema import SERVICE_SCHEMA
from .sql import statement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgdbm.core.config import DatabaseConfig

    from ..settings import Login

logger = structlog.get_logger("pgdbm_service")

# Idle connections are closed after this number of seconds.
_IDLE_S = 30.0
# Members of these roles can read or change the data of other users, or end their sessions.
_POWERFUL = (
    "pg_read_all_data",
    "pg_write_all_data",
    "pg_read_server_files",
    "pg_write_server_files",
    "pg_execute_server_program",
    "pg_signal_backend",
)
_CLOSE_S = 5.0


class LoginError(library.ConnectionError):
    """The server, or the service itself, refused a connection of ``login``. ``sqlstate`` is the server's, if any."""

    def __init__(self, login: str, reason: str, sqlstate: str | None = None) -> None:
        super().__init__(f"The login {login} was refused: {reason}")
        self.login = login
        self.reason = reason
        self.sqlstate = sqlstate


class LoginNumbers(NamedTuple):
    """How many connections of a login are open and in use, and why the last one was refused."""

    size: int
    used: int
    refusal: str | None


class LoginPool(ConfiguredPool):
    """The connections of one login."""

    __slots__ = ("_login", "_password_file", "_service_user", "refusal")

    def __init__(self, login: Login, config: DatabaseConfig, settings: dict[str, str], service_user: str) -> None:
        super().__init__(config, settings)
        self._login = login.name
        self._password_file = None if login.password_file is None else str(login.password_file)
        self._service_user = service_user
        self.refusal: str | None = None

    async def _open_connection(self, *args: Any, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
        try:
            connection = await super()._open_connection(*args, **options)
        except library.AsyncDBError as error:
            raise self._translated(error) from error
        return await self._checked(connection)

    async def open_direct(self) -> asyncpg.Connection[asyncpg.Record]:
        try:
            connection = await super().open_direct()
        except library.AsyncDBError as error:
            raise self._translated(error) from error
        return await self._checked(connection)

    async def _checked(self, connection: asyncpg.Connection[asyncpg.Record]) -> asyncpg.Connection[asyncpg.Record]:
        """``connection``, if its sessions have only the privileges of the login."""
        try:
            query = statement("database", "login")
            row = await connection.fetchrow(query, self._service_user, SERVICE_SCHEMA, list(_POWERFUL))
            assert row is not None
            if row["user"] != self._login:
                raise self._refused(
                    f"its sessions have the user {row['user']}. A pooler in front of the database must pass the user on"
                )
            if row["powers"]:
                raise self._refused(
                    f"it does not isolate its module: {'; '.join(row['powers'])}. See docs/howto/secure-the-service.md"
                )
        except BaseException:
            connection.terminate()
            raise
        self.refusal = None
        # While its tables are read, functions in them can send messages of any size.
        limit_messages(connection)
        return connection

    def _translated(self, error: library.AsyncDBError) -> library.AsyncDBError:
        """A LoginError, if the server is available and refuses this login."""
        cause = error.__cause__
        if isinstance(cause, OSError) and self._password_file is not None and cause.filename == self._password_file:
            return self._refused(f"its password file cannot be read: {cause.strerror}")
        sqlstate = getattr(cause, "sqlstate", None)
        if isinstance(cause, asyncpg.PostgresError) and not _is_away(sqlstate):
            return self._refused(str(cause), sqlstate)
        if isinstance(cause, asyncpg.InterfaceError):
            return self._refused(str(cause))
        return error

    def _refused(self, reason: str, sqlstate: str | None = None) -> LoginError:
        if self.refusal != reason:
            # Log it only once, because each sample of the metrics tries again.
            logger.warning("login refused", login=self._login, reason=reason, sqlstate=sqlstate)
        self.refusal = reason
        return LoginError(self._login, reason, sqlstate)


class Logins:
    """The pools of ``logins``, each with at most ``most`` connections."""

    def __init__(self, logins: Iterable[Login], most: int) -> None:
        self._logins = {login.name: login for login in logins}
        self._most = most
        self._pools: dict[str, LoginPool] = {}

    @property
    def names(self) -> list[str]:
        return list(self._logins)

    async def open(self, config: DatabaseConfig, service_user: str) -> None:
        """Create the pools, with the settings of ``config`` except for the user. Opens no connection."""
        for login in self._logins.values():
            own = config.model_copy(update=_changes(config, login) | {"max_connections": self._most})
            settings = own.get_server_settings()
            if own.direct_connection_string is None:
                settings["search_path"] = NEUTRAL_SEARCH_PATH
            pool = LoginPool(login, own, settings, service_user)
            await pool
            pool.is_open = True
            self._pools[login.name] = pool

    def manager(self, login: str, schema: str) -> AsyncDatabaseManager:
        """A manager of ``schema`` on the connections of ``login``, after :meth:`open`."""
        return AsyncDatabaseManager(pool=self._pools[login], schema=schema)

    def numbers(self) -> dict[str, LoginNumbers]:
        """The numbers of connections of each pool."""
        return {
            name: LoginNumbers(pool.get_size(), pool.get_size() - pool.get_idle_size(), pool.refusal)
            for name, pool in self._pools.items()
        }

    async def close(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        await asyncio.gather(*map(_close, pools))


async def _close(pool: LoginPool) -> None:
    try:
        async with asyncio.timeout(_CLOSE_S):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def _changes(config: DatabaseConfig, login: Login) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "min_connections": 0,
        "max_inactive_connection_lifetime": _IDLE_S,
        "password_file": login.password_file and str(login.password_file),
    }
    password = os.environ[login.password_variable] if login.password_variable is not None else ""
    for field in ("connection_string", "direct_connection_string"):
        url = getattr(config, field)
        if url is not None:
            changes[field] = parse_dsn(url).with_parameters(user=login.name, password=password)
    return changes


def _is_away(sqlstate: str | None) -> bool:
    """Whether the server currently refuses every client. The connection limit that was reached may be the login's."""
    return sqlstate is not None and (sqlstate in ("57P01", "57P02", "57P03", "57P05", "25006") or sqlstate[:2] == "08")
