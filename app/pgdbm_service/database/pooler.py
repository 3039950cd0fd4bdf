"""Whether connections go through a pooler, and the check of the direct address.

LISTEN, session locks, and the process ids by which runs are monitored and cancelled require real sessions.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg

from pgdbm.core.asyncpg_errors import is_startup_setting_refused
from pgdbm.core.connection import in_transaction, is_pooled
from pgdbm.errors import ConfigurationError, ConnectionError

from .sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgdbm.core.pool import ConfiguredPool

_WAY_OUT = (
    "DATABASE_URL goes through a pooler. Set PGDBM_DIRECT_URL to the direct address of the same database, or change "
    "DATABASE_URL to it."
)
_NOT_DIRECT = "PGDBM_DIRECT_URL goes through a pooler, too. It must be the address of the server itself."
# The error of a statement that was prepared on one backend and executed on another.
_BACKEND = statement("database", "backend")
_PREPARED_ELSEWHERE = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)


async def check_sessions(pool: ConfiguredPool) -> None:
    """Check that a connection to the direct address has a session of its own, on the same database and as the same
    user.

    Raises:
        ConfigurationError: it does not; the message names the variable to set.
        ConnectionError: the direct address cannot be reached.
    """
    if pool.config.direct_connection_string is None:
        async with pool.acquire() as first, pool.acquire() as second:
            if await _share_a_backend(first, second):
                raise ConfigurationError(_WAY_OUT, "connection_string")
        return
    async with _direct(pool) as first, _direct(pool) as second:
        if await _share_a_backend(first, second):
            raise ConfigurationError(_NOT_DIRECT, "direct_connection_string")
        (direct,) = await first.fetch(statement("database", "identity"))
    (pooled,) = await pool.fetch(statement("database", "identity"))
    if direct["database"] != pooled["database"]:
        raise ConfigurationError(
            "PGDBM_DIRECT_URL is the address of a different database from DATABASE_URL.", "direct_connection_string"
        )
    if direct["user"] != pooled["user"]:
        raise ConfigurationError(
            f"PGDBM_DIRECT_URL connects as the user {direct['user']}, and DATABASE_URL as {pooled['user']}. Both must "
            f"connect as the same user: one could not use the tables that the other creates.",
            "direct_connection_string",
        )


def reason_of(error: Exception) -> str | None:
    """Why the service cannot use these addresses, in one line; None if they are not the problem."""
    if getattr(error, "config_field", None) == "shared_pool_search_path":
        return f"{_WAY_OUT} (The search_path of its connections is not the requested one.)"
    if _has_cause(error, _PREPARED_ELSEWHERE):
        # A pooler with idle backends may keep giving each connection the same one during the check.
        return _WAY_OUT
    return error.message.splitlines()[0] if isinstance(error, ConfigurationError) else None


def _has_cause(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> bool:
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error is not None


@contextlib.asynccontextmanager
async def _direct(pool: ConfiguredPool) -> AsyncIterator[Any]:
    try:
        connection = await pool.open_direct()
    except ConnectionError as error:
        # A pooler refuses settings that it does not know.
        if is_startup_setting_refused(error):
            raise ConfigurationError(_NOT_DIRECT, "direct_connection_string") from error
        raise
    try:
        yield connection
    finally:
        connection.terminate()


async def _share_a_backend(first: Any, second: Any) -> bool:
    """Whether two connections use the same backend in turn, as they do through a transaction pooler.

    A process id that differs from the announced one is no proof: some proxies announce their own and still keep
    sessions.
    """
    try:
        if not await is_pooled(first):
            return False
        pid = await first.fetchval(_BACKEND)
        async with in_transaction(second):
            return bool(await second.fetchval(_BACKEND) == pid or await first.fetchval(_BACKEND) != pid)
    except _PREPARED_ELSEWHERE:
        return True
