"""One lock per schema and module, so that each migration runs exactly once and tenants do not wait for each other.

All locks are PostgreSQL advisory locks on one 64-bit key, so transaction locks and session locks exclude each other.
They are only ever tried: a runner that waits inside ``pg_advisory_lock`` holds a snapshot that CREATE INDEX
CONCURRENTLY waits for, and the two would deadlock.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ...core.asyncpg_errors import is_alive
from ...core.backoff import exponential
from ...core.connection import is_pooled
from ...errors import MigrationError, MigrationLockTimeoutError
from ...sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ...core.connection import Connection
    from ...core.manager import AsyncDatabaseManager

_FIRST_PAUSE_S = 0.025
_LONGEST_PAUSE_S = 1.0


class MigrationLock:
    """The lock of ``module`` in ``schema``. ``wait_timeout`` (seconds) limits each wait for another runner."""

    def __init__(self, schema: str, module: str, wait_timeout: float) -> None:
        digest = hashlib.sha256(b"\x00".join((b"pgdbm", schema.encode(), module.encode()))).digest()
        self.key = int.from_bytes(digest[:8], "big", signed=True)
        self._name = f"module {module!r} in schema {schema!r}"
        self.wait_timeout = wait_timeout

    async def wait_until_free(
        self, db: AsyncDatabaseManager, on_wait: Callable[[dict[str, Any] | None], None] | None = None
    ) -> None:
        """Return when the lock is free; does not take it. Holds no connection between two polls.

        ``on_wait`` is called with the holder after each poll that finds the lock held.

        Raises:
            MigrationLockTimeoutError: it was held for longer than ``wait_timeout``; the text names the holder.
        """
        started = time.monotonic()
        for pause in pauses():
            async with db.acquire() as connection:
                if await connection.fetchval(statement("locks", "probe"), self.key):
                    return
                await self._check_timeout(connection, started)
                if on_wait is not None:
                    on_wait(await self.holder(connection))
            await asyncio.sleep(pause)

    async def holder(self, connection: Connection) -> dict[str, Any] | None:
        """The session that holds the lock: pid, application_name, user, client, state, query, since; or None."""
        row = await connection.fetchrow(statement("locks", "holder"), self.key)
        return dict(row) if row else None

    async def take(self, connection: Connection) -> bool:
        """Take the lock for the session of ``connection``; False if another session has it."""
        return bool(await connection.fetchval(statement("locks", "take"), self.key))

    @asynccontextmanager
    async def held_by_session(self, connection: Connection) -> AsyncIterator[None]:
        """Hold the lock for the session of ``connection`` during the block. Waits for it first.

        Raises:
            MigrationError: the connection goes through a pooler, so it may have no session of its own.
            MigrationLockTimeoutError: it was held for longer than ``wait_timeout``; the text names the holder.
        """
        if await is_pooled(connection):
            raise MigrationError(
                "This connection goes through a pooler, where a session lock may protect nothing. Migrations with "
                "`-- pgdbm:no-transaction` need a direct connection to the server: set direct_connection_string, or "
                "use a direct address."
            )
        started = time.monotonic()
        for pause in pauses():
            if await self.take(connection):
                break
            await self._check_timeout(connection, started)
            await asyncio.sleep(pause)
        try:
            yield
        finally:
            if is_alive(connection):
                await connection.execute(statement("locks", "release"), self.key)

    async def _check_timeout(self, connection: Connection, started: float) -> None:
        waited = time.monotonic() - started
        if waited < self.wait_timeout:
            return
        holder = await self.holder(connection)
        raise MigrationLockTimeoutError(
            f"Waited {waited:.1f} s for the migrations of {self._name}: {described(holder)} holds the lock. Try again "
            f"when it has ended. If it hangs, find out what it is waiting for, and end it with pg_terminate_backend.",
            waited_s=waited,
            holder=holder,
        )


def described(holder: dict[str, Any] | None) -> str:
    """A description of a session that holds a lock."""
    if not holder:
        return "another session"
    return (
        f"pid {holder['pid']} ({holder['application_name'] or 'no application_name'}, user {holder['user']}, "
        f"since {holder['since']:%Y-%m-%d %H:%M:%S %Z})"
    )


def pauses() -> Iterator[float]:
    """Seconds between attempts to take the lock: from 25 ms to 1 s, with jitter."""
    return exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, jitter=0.5)
