"""The journal table: attempts, statements that ran outside a transaction, and what people decided.

The history table says what is applied, completely. Everything else is written here, in a table that is made when the
first entry is.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..core.creation import NOT_THERE, create_if_missing
from ..core.identifiers import quote
from ..sql import statement
from .files import migration_of

if TYPE_CHECKING:
    from datetime import datetime

logger = logging.getLogger("pgdbm.migrations")

TABLE = "pgdbm_journal"

Outcome = Literal[
    "begun", "done", "failed", "retried", "finished", "marked", "unmarked", "reverted", "repaired", "baselined"
]


@dataclass(frozen=True, slots=True)
class StatementRecord:
    """The newest word on one statement of a file. ``begun`` that nobody ended is an unknown outcome."""

    id: int
    statement: int
    outcome: Outcome
    statement_hash: str
    attempt: int
    sqlstate: str | None
    message: str | None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An entry as it is shown."""

    id: int
    filename: str
    statement: int | None
    outcome: Outcome
    attempt: int
    sqlstate: str | None
    message: str | None
    began_at: datetime
    ended_at: datetime | None
    made_by: str


def hash_of(text: str) -> str:
    """What a statement that is done is recognised by."""
    return hashlib.sha256(text.strip().encode()).hexdigest()


class Journal:
    """The journal of one module in one schema."""

    def __init__(self, schema: str, module: str) -> None:
        self._module = module
        self.table = f"{quote(schema)}.{quote(TABLE)}"

    def sql(self, name: str, **slots: str) -> str:
        return statement("journal", name, journal=self.table, journal_index=quote(f"{TABLE}_by_file"), **slots)

    async def create(self, connection: Any) -> None:
        """Create the table where it is missing; several may do so at once."""
        await create_if_missing(connection, self.sql("create"))

    async def note(
        self,
        connection: Any,
        filename: str,
        outcome: Outcome,
        *,
        statement: int | None = None,
        attempt: int = 1,
        sqlstate: str | None = None,
        message: str | None = None,
    ) -> None:
        """Write an entry that is over when it is written, and the table where it is missing."""
        values = (self._module, filename, statement, outcome, None, attempt, sqlstate, message)
        try:
            await connection.execute(self.sql("note"), *values)
        except NOT_THERE:
            await self.create(connection)
            await connection.execute(self.sql("note"), *values)

    async def begin(self, connection: Any, filename: str, statement: int, statement_hash: str, attempt: int) -> int:
        """Write down that a statement is about to run; the answer is for :meth:`end`."""
        values = (self._module, filename, statement, statement_hash, attempt)
        entry: int = await connection.fetchval(self.sql("begin"), *values)
        return entry

    async def end(
        self, connection: Any, entry: int, outcome: Outcome, sqlstate: str | None = None, message: str | None = None
    ) -> None:
        """Write down what came of it."""
        await connection.execute(self.sql("end"), entry, outcome, sqlstate, message)

    def end_in_transaction(self, entry: int) -> str:
        """SQL that says "done" in the transaction of the statement itself, so that both are true or neither."""
        return self.sql("end_in_transaction", id=str(entry))

    async def statements(self, connection: Any, filename: str) -> dict[int, StatementRecord]:
        """The newest word on each statement of ``filename`` that was begun.

        A way back is begun anew when its migration was taken back, or was applied again since.
        """
        try:
            rows = await connection.fetch(self.sql("statements"), self._module, filename, migration_of(filename))
        except NOT_THERE:
            return {}
        return {row["statement"]: StatementRecord(**row) for row in rows}

    async def latest(self, connection: Any) -> dict[str, Outcome]:
        """The newest outcome by file name, of the files that have an entry."""
        try:
            return dict(await connection.fetch(self.sql("latest"), self._module))
        except NOT_THERE:
            return {}

    async def entries(self, connection: Any, limit: int) -> list[JournalEntry]:
        """The newest ``limit`` entries, newest first."""
        try:
            return [JournalEntry(**row) for row in await connection.fetch(self.sql("entries"), self._module, limit)]
        except NOT_THERE:
            return []
