"""Ends the sessions that block a migration, if a policy allows it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

import asyncpg

from ...errors import ConfigurationError
from ...sql import statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...core.manager import AsyncDatabaseManager
    from ..state.journal import Journal
    from .announcer import Announcer

logger = logging.getLogger("pgdbm.migrations")


@dataclass(frozen=True, slots=True)
class BlockerPolicy:
    """Which sessions that block a migration may be ended; none, unless one of the three is given.

    ``idle_in_transaction_s``: those that are idle in a transaction for longer (seconds). ``application_names`` and
    ``roles``: sessions with one of these names. ``action``: ``terminate`` ends the session; ``cancel`` ends the
    statement that it is executing, and has no effect on an idle session. ``on_ended`` is called with each.

    Replication, autovacuum and other background processes are never ended, nor are superusers or sessions that hold an
    advisory lock with a key of 64 bits, as each migration does. Unless it is a superuser, the connecting user needs the
    privileges of pg_read_all_stats and pg_signal_backend, or those of the roles of the sessions.

    Raises:
        ConfigurationError: an unknown action, a negative time, or ``cancel`` for sessions that are idle.
    """

    action: Literal["cancel", "terminate"] = "terminate"
    idle_in_transaction_s: float | None = None
    application_names: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    on_ended: Callable[[EndedBlocker], None] | None = None

    def __post_init__(self) -> None:
        if self.action not in ("cancel", "terminate"):
            raise ConfigurationError(f"action is {self.action!r}; choose 'cancel' or 'terminate'.", "end_blockers")
        if self.idle_in_transaction_s is not None and self.idle_in_transaction_s < 0:
            raise ConfigurationError("idle_in_transaction_s cannot be negative.", "end_blockers")
        if self.action == "cancel" and self.idle_in_transaction_s is not None:
            raise ConfigurationError(
                "An idle session has no statement to cancel: use the action 'terminate'.",
                "end_blockers",
            )


class EndedBlocker(NamedTuple):
    """A session that was ended because it blocked a migration; ``filename`` is the file that waited.

    ``transaction_age_s`` and ``state_age_s``: how long its transaction and its ``state`` had lasted.
    """

    filename: str
    action: str
    pid: int
    user: str | None
    application_name: str | None
    state: str | None
    transaction_age_s: float | None
    state_age_s: float | None
    query: str | None

    @property
    def message(self) -> str:
        """What happened, as a sentence."""
        verb = "terminated" if self.action == "terminate" else "cancelled"
        who = " ".join(part for part in (self.user, self.application_name) if part)
        age = "" if self.state_age_s is None else f" for {self.state_age_s:.0f} s"
        return f"{verb} the blocking process {self.pid} ({who}), {self.state}{age}"


@dataclass(slots=True)
class BlockerEnding:
    """Ends blockers as ``policy`` allows. Each one is recorded in the journal and emitted as an event."""

    policy: BlockerPolicy
    journal: Journal
    announcer: Announcer
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def end_blockers(self, db: AsyncDatabaseManager, pid: int) -> None:
        """End sessions that block the backend ``pid``. Refusals by the server are logged."""
        task = asyncio.create_task(self._end(db, pid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The migration continues as soon as they have ended; the record may be written later.
        await asyncio.shield(task)

    async def settle(self) -> None:
        """Return when every ended session is recorded."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _end(self, db: AsyncDatabaseManager, pid: int) -> None:
        policy, filename = self.policy, self.announcer.filename or ""
        sql = statement("watch", "end_blockers", end=f"pg_catalog.pg_{policy.action}_backend")
        arguments = (policy.idle_in_transaction_s, list(policy.application_names), list(policy.roles))
        async with db.acquire() as connection:
            try:
                rows = await connection.fetch(sql, pid, *arguments)
            except asyncpg.InsufficientPrivilegeError as error:
                logger.warning("A blocking session was not ended: %s. pg_signal_backend allows it.", error)
                return
            for row in rows:
                ended = EndedBlocker(filename, policy.action, **dict(row))
                logger.warning("%s: %s", filename, ended.message)
                if policy.on_ended is not None:
                    try:
                        policy.on_ended(ended)
                    except Exception:
                        # The session has ended, and that must be recorded.
                        logger.exception("A listener to ended sessions failed")
                self.announcer.emit("blocker_ended", filename, action=ended.action, blocker=_details(ended))
                await self.journal.record(connection, filename, "blocker_ended", message=ended.message)


def _details(ended: EndedBlocker) -> dict[str, object]:
    return {name: value for name, value in ended._asdict().items() if name not in ("filename", "action")}
