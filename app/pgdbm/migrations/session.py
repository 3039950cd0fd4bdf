"""One connection that migrates: sending without a time limit, rolling back, and what a run has done so far."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..core.identifiers import quote
from ..core.pool import is_alive
from ..sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .events import Announcer
    from .history import History
    from .journal import Journal
    from .locks import MigrationLock
    from .message import Composer
    from .parser import ParsedMigration

# asyncpg takes None for "as the pool is configured", so no limit is a very long one.
NO_TIMEOUT_S = 10 * 365 * 24 * 3600.0


@dataclass(slots=True)
class Run:
    """What one call of apply has done so far. ``on_disk``: how many of ``applied``, in order, a crash leaves alone."""

    began: float = field(default_factory=time.perf_counter)
    applied: list[str] = field(default_factory=list)
    on_disk: int = 0

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self.began) * 1000


@dataclass(frozen=True, slots=True)
class Session:
    """A connection, and everything that applying a migration over it needs.

    ``last`` is the migration whose commit waits for the disk. ``retry_for`` (seconds) bounds the attempts at a
    migration that somebody else's locks are in the way of.
    """

    connection: Any
    composer: Composer
    history: History
    journal: Journal
    lock: MigrationLock
    announcer: Announcer
    run: Run
    last: ParsedMigration
    retry_for: float

    async def send(self, sql: str) -> None:
        """Run ``sql``, one statement or many, for as long as it takes."""
        await self.connection.execute(sql, timeout=NO_TIMEOUT_S)

    async def roll_back(self) -> None:
        if self.connection.is_in_transaction():
            await self.send("ROLLBACK")

    @property
    def reset_sql(self) -> str:
        """What puts the settings of the session back to what they were. asyncpg's own leaves the role as it is."""
        return f"{statement('runner', 'reset_role')};\n{self.connection.get_reset_query()}"

    async def reset(self) -> None:
        """Put the settings of the session back to what they were."""
        await self.send(self.reset_sql)

    async def finish(self) -> None:
        """End a transaction that was cut short, and see what was committed without waiting for the disk onto it."""
        if not is_alive(self.connection):
            return
        await self.roll_back()
        if self.run.on_disk < len(self.run.applied):
            await self.send(statement("locks", "flush"))
            self.run.on_disk = len(self.run.applied)

    def waits_for_disk(self, migration: ParsedMigration) -> bool:
        """Whether the commit of ``migration`` does, and with it all before: somebody is told that it is applied."""
        return self.announcer.is_heard or migration is self.last

    def note_applied(self, migration: ParsedMigration, *, on_disk: bool) -> None:
        self.run.applied.append(migration.filename)
        if on_disk:
            self.run.on_disk = len(self.run.applied)


@asynccontextmanager
async def as_role(connection: Any, role: str | None, *, of_session: bool = False) -> AsyncIterator[None]:
    """Be ``role``, where there is one, for the length of the block; in a transaction, its end is enough."""
    if role is None:
        yield
        return
    enter = "enter_role_of_session" if of_session else "enter_role"
    await connection.execute(statement("runner", enter, role=quote(role)))
    try:
        yield
    except BaseException:
        if of_session and is_alive(connection):
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK", timeout=NO_TIMEOUT_S)
            await connection.execute(statement("runner", "leave_role"))
        raise
    await connection.execute(statement("runner", "leave_role"))
