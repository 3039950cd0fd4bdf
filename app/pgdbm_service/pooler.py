"""Whether there is a transaction pooler between us and the server, and a way past it.

LISTEN, session locks and the process ids that runs are watched and cancelled by need sessions of their own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import asyncpg

from pgdbm.errors import AsyncDBError, ConfigurationError, ConnectionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgdbm.core.pool import ConfiguredPool

_WAY_OUT = (
    "DATABASE_URL leads through a pooler of transactions. Set PGDBM_DIRECT_URL to the address of the same database "
    "past the pooler, or DATABASE_URL itself."
)
_NOT_DIRECT = "PGDBM_DIRECT_URL leads through a pooler of transactions too: it has to lead to the server itself."
_PID = "SELECT pg_catalog.pg_backend_pid()"
# Prepared on one backend, and asked of another.
_PREPARED_ELSEWHERE = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
# Of a running server and a database in it, without any privilege.
_IDENTITY = """
SELECT pg_catalog.pg_postmaster_start_time()::text || ' ' || oid
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
"""


async def check_sessions(pool: ConfiguredPool) -> None:
    """Look whether what needs a session of its own gets one, and on the same database.

    Raises:
        ConfigurationError: it does not; says which variable to set to what.
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
        if await first.fetchval(_IDENTITY) != await pool.fetchval(_IDENTITY):
            raise ConfigurationError(
                "PGDBM_DIRECT_URL leads to another database than DATABASE_URL.", "direct_connection_string"
            )


def reason_of(error: Exception) -> str | None:
    """What keeps the service from its database, in a line; None where only the log can tell."""
    if getattr(error, "config_field", None) == "shared_pool_search_path":
        return f"{_WAY_OUT} (The search_path of its connections is not what was asked for.)"
    if _has_cause(error, _PREPARED_ELSEWHERE):
        # A pooler with backends to spare may give each connection the same one for as long as we look.
        return _WAY_OUT
    return error.message.splitlines()[0] if isinstance(error, AsyncDBError) else None


def _has_cause(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> bool:
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error is not None


@contextlib.asynccontextmanager
async def _direct(pool: ConfiguredPool) -> AsyncIterator[Any]:
    try:
        connection = await pool.open_direct()
    except ConnectionError as error:
        # A pooler refuses the settings that only a server knows.
        if "unsupported startup parameter" in error.message:
            raise ConfigurationError(_NOT_DIRECT, "direct_connection_string") from error
        raise
    try:
        yield connection
    finally:
        connection.terminate()


async def _share_a_backend(first: Any, second: Any) -> bool:
    """Whether two connections work on the same backend between their transactions, as a transaction pooler has it.

    That the process id is not the announced one is not enough: other proxies make up their own, and keep sessions.
    """
    try:
        pid = await first.fetchval(_PID)
        if pid == first.get_server_pid():
            return False
        async with second.transaction():
            return bool(await second.fetchval(_PID) == pid or await first.fetchval(_PID) != pid)
    except _PREPARED_ELSEWHERE:
        return True
