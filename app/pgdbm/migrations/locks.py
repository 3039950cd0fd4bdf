"""One lock per schema and module, so that each migration runs exactly once and tenants do not queue for each other.

All locks are PostgreSQL advisory locks on one 64-bit key, so a transaction's and a session's lock exclude each other.
They are only ever tried: a runner that slept inside ``pg_advisory_lock`` would hold a snapshot that CREATE INDEX
CONCURRENTLY waits for, and the two would deadlock.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..core.pool import is_alive
from ..errors import MigrationError, MigrationLockTimeoutError
from ..sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ..core.manager import AsyncDatabaseManager
    from .events import Announcer

_FIRST_PAUSE_S = 0.025
_LONGEST_PAUSE_S = 1.0


class MigrationLock:
    """The lock of ``module`` in ``schema``. ``wait_timeout`` (seconds) bounds each wait for another runner."""

    def __init__(self, schema: str, module: str, wait_timeout: float) -> None:
        digest = hashlib.sha256(b"\x00".join((b"pgdbm", schema.encode(), module.encode()))).digest()
        self.key = int.from_bytes(digest[:8], "big", signed=True)
        self._name = f"module {module!r} in schema {schema!r}"
        self._wait_timeout = wait_timeout

    async def wait_until_free(self, db: AsyncDatabaseManager, announcer: Announcer | None = None) -> None:
        """Return once nobody holds the lock; does not take it. Holds no connection between the looks.

        Raises:
            MigrationLockTimeoutError: it was held for longer than ``wait_timeout``; names the holder.
        """
        began = time.monotonic()
        for pause in pauses():
            async with db.acquire() as connection:
                if await connection.fetchval(statement("locks", "probe"), self.key):
                    return
                await self._check_patience(connection, began)
                if announcer is not None and announcer.is_heard:
                    announcer.say("waiting_for_runner", holder=await self.holder(connection))
            await asyncio.sleep(pause)

    async def holder(self, connection: Any) -> dict[str, Any] | None:
        """Who holds the lock: pid, application_name, user, client, state, query, since; None where nobody does."""
        row = await connection.fetchrow(statement("locks", "holder"), self.key)
        return dict(row) if row else None

    @asynccontextmanager
    async def held_by_session(self, connection: Any) -> AsyncIterator[None]:
        """Hold the lock on ``connection``'s session for the length of the block; waits for it first.

        Raises:
            MigrationError: the connection goes through a transaction pooler and is no session of its own.
            MigrationLockTimeoutError: it was held for longer than ``wait_timeout``; names the holder.
        """
        if await connection.fetchval(statement("locks", "backend")) != connection.get_server_pid():
            raise MigrationError(
                "This connection goes through a transaction pooler, where a session lock protects nothing. "
                "Migrations with `-- pgdbm:no-transaction` need a direct connection to the server."
            )
        began = time.monotonic()
        for pause in pauses():
            if await connection.fetchval(statement("locks", "take"), self.key):
                break
            await self._check_patience(connection, began)
            await asyncio.sleep(pause)
        try:
            yield
        finally:
            if is_alive(connection):
                await connection.execute(statement("locks", "give_back"), self.key)

    async def _check_patience(self, connection: Any, began: float) -> None:
        waited = time.monotonic() - began
        if waited < self._wait_timeout:
            return
        holder = await self.holder(connection)
        who = (
            f"pid {holder['pid']} ({holder['application_name'] or 'no application name'}, user {holder['user']}, "
            f"since {holder['since']:%Y-%m-%d %H:%M:%S %Z})"
            if holder
            else "another runner"
        )
        raise MigrationLockTimeoutError(
            f"Waited {waited:.1f} s for the migrations of {self._name}: {who} holds the lock. Try again when it is "
            f"done; if it hangs, look at what it waits for, and end it with pg_terminate_backend.",
            waited_s=waited,
            holder=holder,
        )


def pauses() -> Iterator[float]:
    """Seconds between looks at a lock: from 25 ms, doubling up to 1 s, each with jitter. Never ends."""
    pause = _FIRST_PAUSE_S
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads runners out; no secret depends on it
        pause = min(pause * 2, _LONGEST_PAUSE_S)
