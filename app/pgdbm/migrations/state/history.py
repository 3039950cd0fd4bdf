"""The history table: the applied migrations of each module in a schema."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

import asyncpg

from ...core.connection import fetch_once
from ...core.creation import NOT_THERE, create_if_missing
from ...core.templating import literal, quote
from ...errors import MigrationError
from ...sql import statement
from ...text import sentence
from ..results import HistoryRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from ...core.connection import Connection
    from ...core.manager import AsyncDatabaseManager

_MOST_ROWS = 200_000

FOREIGN_TABLE = '"pgdbm:not-our-table"'
"""Part of the server's error if the history is not a plain table of the connecting user."""


class History:
    """The rows of one module in the history table of one schema. A row means: applied, completely.

    The methods raise asyncpg's errors, and MigrationError if the table belongs to another tool or user.
    """

    def __init__(self, schema: str, table: str, module: str) -> None:
        self.schema = schema
        self.module = module
        self.table_name = table
        self.table = f"{quote(schema)}.{quote(table)}"
        self._statements: dict[str, str] = {}

    def sql(self, name: str) -> str:
        """Statement ``name`` of ``history.sql`` for this table."""
        known = self._statements.get(name)
        if known is None:
            own = statement("history", "own", table_literal=literal(self.table))
            known = statement("history", name, history=self.table, own=own, limit=str(_MOST_ROWS + 1))
            self._statements[name] = known
        return known

    async def applied(self, connection: Connection) -> dict[str, str] | None:
        """Checksum by file name; None if the table or its schema does not exist."""
        try:
            rows = await self._checked(connection.fetch(self.sql("applied"), self.module))
            return {row["filename"]: row["checksum"] for row in rows}
        except NOT_THERE:
            return None

    async def rows(self, connection: Connection) -> list[HistoryRow]:
        """Every row, oldest first; none without a table."""
        try:
            found = await self._checked(connection.fetch(self.sql("rows"), self.module))
            return _rows(found)
        except NOT_THERE:
            return []

    async def page(self, connection: Connection, limit: int, before: int | None) -> list[HistoryRow]:
        """The newest ``limit`` rows with an id below ``before``, newest first."""
        try:
            found = await self._checked(connection.fetch(self.sql("page"), self.module, before, limit))
        except NOT_THERE:
            return []
        return _rows(found)

    async def newest(self, connection: Connection, limit: int) -> list[dict[str, Any]]:
        """The newest rows as dicts; ``applied_at`` is UTC, without a time zone."""
        try:
            return [dict(row) for row in await self._checked(connection.fetch(self.sql("newest"), self.module, limit))]
        except NOT_THERE:
            return []

    async def times(self, connection: Connection, filenames: Sequence[str]) -> dict[str, int]:
        """Milliseconds that each of ``filenames`` took."""
        rows = await fetch_once(connection, self.sql("times"), filenames, self.module)
        return {row["filename"]: row["execution_time_ms"] or 0 for row in rows}

    async def create(self, db: AsyncDatabaseManager) -> None:
        """Create the schema and the table unless they exist. Safe against concurrent sessions."""
        # Not durable: an empty history is useless until a durable commit follows.
        await db.ensure_schema(self.schema, durable=False)
        async with db.acquire() as connection:
            await create_if_missing(connection, self.sql("create"), durable=False)

    async def record(self, connection: Connection, filename: str, checksum: str, milliseconds: int) -> None:
        """Insert the row of a migration that was applied outside a transaction."""
        await fetch_once(connection, self.sql("record"), filename, checksum, self.module, milliseconds)

    async def mark(self, connection: Connection, filename: str, checksum: str) -> None:
        """Insert the row of a migration whose SQL did not run here."""
        await connection.execute(self.sql("mark"), filename, checksum, self.module)

    async def accept(self, connection: Connection, filename: str, checksum: str) -> None:
        """Set the checksum of an applied migration to ``checksum``."""
        await connection.execute(self.sql("accept"), filename, checksum, self.module)

    async def rename(self, connection: Connection, previous: str, filename: str) -> None:
        """Rename the row of ``previous`` to ``filename``."""
        await connection.execute(self.sql("rename"), previous, filename, self.module)

    async def delete(self, connection: Connection, filename: str) -> bool:
        """Delete the row of ``filename``; False if there was none."""
        status = await connection.execute(self.sql("delete"), filename, self.module)
        return status != "DELETE 0"

    async def _checked(self, read: Awaitable[list[asyncpg.Record]]) -> list[asyncpg.Record]:
        """The rows of a query of the table. Raises MigrationError if the table is not a history."""
        try:
            rows = await read
            if len(rows) > _MOST_ROWS:
                raise MigrationError(
                    f"{self.table} has more than {_MOST_ROWS:,} rows of module {self.module!r}, which cannot be a "
                    f"migration history: delete the rows that no migration wrote."
                )
            return rows
        except asyncpg.UndefinedColumnError as error:
            reason = sentence(f"{self.table} is not a pgdbm history: {error.args[0]}")
            raise MigrationError(
                f"{reason} Other tools have a table with that name, too. Either rename theirs (ALTER TABLE … RENAME TO "
                f"…), or keep pgdbm's in another table, "
                f"with migrations_table='pgdbm_migrations' wherever migrations are applied."
            ) from error
        except asyncpg.InvalidTextRepresentationError as error:
            if FOREIGN_TABLE not in str(error):
                raise
            raise MigrationError(
                f"{self.table} is a view, or a table whose row security policies apply to the connecting user, and was "
                f"not read: both would run its owner's code as that user. Make the connecting user the owner of a "
                f"plain table with that name, or keep the history in another one, with migrations_table=…."
            ) from error


def _rows(records: Sequence[asyncpg.Record]) -> list[HistoryRow]:
    """The rows in the columns' order. A call of HistoryRow for each takes twice as long."""
    rows: Any = map(tuple.__new__, repeat(HistoryRow), records)
    return list(rows)


async def require_own_table(connection: Connection, table: str, role: str | None) -> None:
    """Raise MigrationError if ``table`` (quoted, with its schema) is not a plain table, or belongs to ``role``.

    As its owner, the role could have added a trigger that runs as the connecting user. Without a role the files run as
    that user anyway.
    """
    if role is None:
        return
    row = await connection.fetchrow(statement("history", "owner"), table, role)
    if row is not None and (row["is_of_role"] or not row["is_plain"]):
        raise MigrationError(
            f"{table} is not a plain table of the connecting user, but of role {role}, and nothing was written to it. "
            f"Drop it, or change its owner: ALTER TABLE {table} OWNER TO …."
        )
