"""The journal table: attempts, statements that ran outside a transaction, and manual decisions.

The history table contains only completely applied migrations. Everything else is in the journal, whose table is
created with its first entry.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from ...core.connection import fetch_once
from ...core.creation import NOT_THERE, create_if_missing
from ...core.templating import quote
from ...sql import statement
from ..sources.names import migration_of
from .history import require_own_table

if TYPE_CHECKING:
    from ...core.connection import Connection
    from ..results import JournalEvent
    from .journal_entries import JournalEntry

TABLE = "pgdbm_journal"

OUTSIDE = "outside a transaction block"
"""The message of a statement that has started and does not run in a transaction."""


class StatementRecord(NamedTuple):
    """The last record of one statement of a file. ``started`` without an end is an unknown outcome.

    ``session_state`` is JSON: what the statement left in its session.
    """

    id: int
    statement: int
    event: JournalEvent
    statement_hash: str
    attempt: int
    sqlstate: str | None
    message: str | None
    session_state: str | None = None


def hash_of(text: str) -> str:
    """The digest by which an applied statement is recognized."""
    return hashlib.sha256(text.strip().encode()).hexdigest()


class Journal:
    """The journal of one module in one schema. Nothing is written to a table that belongs to ``role``."""

    def __init__(self, schema: str, module: str, role: str | None = None) -> None:
        self._module = module
        self._role = role
        self.table = f"{quote(schema)}.{quote(TABLE)}"

    def sql(self, name: str, **slots: str) -> str:
        """Statement ``name`` of ``journal.sql`` for this table."""
        return statement("journal", name, journal=self.table, journal_index=quote(f"{TABLE}_by_file"), **slots)

    async def create(self, connection: Connection, *others: str) -> None:
        """Create the table unless it exists, and run ``others``, which create other tables, in the same round trip.

        Safe against concurrent sessions.
        """
        await create_if_missing(connection, ";\n".join((self.sql("create"), *others)))
        await require_own_table(connection, self.table, self._role)

    async def record(
        self,
        connection: Connection,
        filename: str,
        event: JournalEvent,
        *,
        statement: int | None = None,
        attempt: int = 1,
        sqlstate: str | None = None,
        message: str | None = None,
    ) -> None:
        """Write an entry about something that has ended, creating the table if necessary."""
        await require_own_table(connection, self.table, self._role)
        values = (self._module, filename, statement, event, None, attempt, sqlstate, message)
        try:
            await fetch_once(connection, self.sql("record"), *values)
        except NOT_THERE:
            await self.create(connection)
            await fetch_once(connection, self.sql("record"), *values)

    async def record_lost(
        self, connection: Connection, filename: str, statement: int | None, place: str, server: str, message: str
    ) -> bool:
        """Record that the session of ``filename`` ended by itself; returns whether it is the second time in a row.

        ``place`` is a digest of what ran; ``server`` identifies the server since its last start.
        """
        await self.create(connection)
        values = (self._module, filename, migration_of(filename), place, server)
        ((again,),) = await fetch_once(connection, self.sql("lost_again"), *values)
        await fetch_once(connection, self.sql("lost"), self._module, filename, statement, place, server, message)
        return bool(again)

    async def begin(
        self,
        connection: Connection,
        filename: str,
        statement: int,
        statement_hash: str,
        attempt: int,
        *,
        message: str | None = None,
    ) -> int:
        """Record that a statement is about to run. Returns the id of the entry, for :meth:`end`."""
        values = (self._module, filename, statement, statement_hash, attempt, message)
        ((entry,),) = await fetch_once(connection, self.sql("begin"), *values)
        return int(entry)

    async def end(
        self,
        connection: Connection,
        entry: int,
        event: JournalEvent,
        sqlstate: str | None = None,
        message: str | None = None,
        *,
        with_session: bool = False,
    ) -> None:
        """Record the result of a statement; with ``with_session``, also what it left in the session."""
        sql = self.sql("end_with_session", session_state=self.sql("session_state")) if with_session else self.sql("end")
        await fetch_once(connection, sql, entry, event, sqlstate, message)

    def end_in_transaction(self, entry: int, *, with_session: bool = False) -> str:
        """SQL that records success in the transaction of the statement itself, so that both commit or neither."""
        if not with_session:
            return self.sql("end_in_transaction", id=str(entry))
        state = self.sql("session_state")
        return self.sql("end_in_transaction_with_session", id=str(entry), session_state=state)

    async def keep_session_state(self, connection: Connection, entry: int) -> None:
        """Record what an ended statement left in the session."""
        sql = self.sql("keep_session_state", session_state=self.sql("session_state"))
        await fetch_once(connection, sql, entry)

    async def statements(self, connection: Connection, filename: str) -> dict[int, StatementRecord]:
        """The last record of each statement of ``filename`` that was started.

        A down migration starts from the beginning if its migration has since been reverted or reapplied.
        """
        try:
            rows = await fetch_once(connection, self.sql("statements"), self._module, filename, migration_of(filename))
        except NOT_THERE:
            return {}
        return {row["statement"]: StatementRecord(**row) for row in rows}

    async def latest(self, connection: Connection) -> dict[str, JournalEvent]:
        """The last event by file name, of the files that have an entry."""
        try:
            rows = await connection.fetch(self.sql("latest"), self._module)
            return {row["filename"]: row["event"] for row in rows}
        except NOT_THERE:
            return {}

    async def entries(self, connection: Connection, limit: int, before: int | None = None) -> list[JournalEntry]:
        """The newest ``limit`` entries with ids below ``before``, newest first."""
        try:
            rows = await connection.fetch(self.sql("entries"), self._module, limit, before)
            from .journal_entries import JournalEntry  # imported lazily: runs do not read them

            return [JournalEntry(**row) for row in rows]
        except NOT_THERE:
            return []
