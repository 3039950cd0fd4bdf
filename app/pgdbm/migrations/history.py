"""The history table: which migrations of which module a schema has had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from ..core.creation import NOT_THERE, create_if_missing, create_schema
from ..core.identifiers import quote
from ..errors import MigrationError
from ..sql import statement
from .results import HistoryRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..core.manager import AsyncDatabaseManager


class History:
    """The rows of one module in the history table of one schema. A row means: applied, completely.

    Takes asyncpg connections and raises asyncpg's errors: the engine knows what each of them means to it. Where the
    table is another tool's, a MigrationError says so.
    """

    def __init__(self, schema: str, table: str, module: str) -> None:
        self.schema = schema
        self.module = module
        self.table_name = table
        self.table = f"{quote(schema)}.{quote(table)}"

    def sql(self, name: str) -> str:
        """Statement ``name`` of ``history.sql`` for this table."""
        return statement("history", name, history=self.table)

    async def applied(self, connection: Any) -> dict[str, str] | None:
        """Checksum by file name; None where the table, or its schema, is not there."""
        try:
            return dict(await self._fetch(connection, "applied", self.module))
        except NOT_THERE:
            return None

    async def rows(self, connection: Any) -> list[HistoryRow]:
        """Every row, oldest first; none where there is no table."""
        try:
            return [HistoryRow(*row) for row in await self._fetch(connection, "rows", self.module)]
        except NOT_THERE:
            return []

    async def page(self, connection: Any, limit: int, before: int | None) -> list[HistoryRow]:
        """The newest ``limit`` rows with an id under ``before``, newest first."""
        try:
            found = await self._fetch(connection, "page", self.module, before, limit)
        except NOT_THERE:
            return []
        return [HistoryRow(*row) for row in found]

    async def newest(self, connection: Any, limit: int) -> list[dict[str, Any]]:
        """The newest rows as plain dicts, with the server's local time."""
        try:
            return [dict(row) for row in await self._fetch(connection, "newest", self.module, limit)]
        except NOT_THERE:
            return []

    async def times(self, connection: Any, filenames: Sequence[str]) -> dict[str, int]:
        """Milliseconds that each of ``filenames`` took."""
        rows: Iterable[Any] = await connection.fetch(self.sql("times"), filenames, self.module)
        return {row["filename"]: row["execution_time_ms"] or 0 for row in rows}

    async def create(self, db: AsyncDatabaseManager) -> None:
        """Create the schema and the table where they are missing; several may do so at once."""
        # What they are for waits, or writes nothing that would be missed.
        await create_schema(db, self.schema, wait_for_disk=False)
        async with db.acquire() as connection:
            await create_if_missing(connection, self.sql("create"), wait_for_disk=False)

    async def record(self, connection: Any, filename: str, checksum: str, milliseconds: int) -> None:
        """A row for a migration that was applied outside a transaction."""
        await connection.execute(self.sql("record"), filename, checksum, self.module, milliseconds)

    async def mark(self, connection: Any, filename: str, checksum: str) -> None:
        """A row for a migration whose SQL did not run here."""
        await connection.execute(self.sql("mark"), filename, checksum, self.module)

    async def accept(self, connection: Any, filename: str, checksum: str) -> None:
        """Take ``checksum`` for the content of an applied migration."""
        await connection.execute(self.sql("accept"), filename, checksum, self.module)

    async def forget(self, connection: Any, filename: str) -> bool:
        """Take a row out; True if there was one."""
        status: str = await connection.execute(self.sql("forget"), filename, self.module)
        return status != "DELETE 0"

    async def _fetch(self, connection: Any, name: str, *values: Any) -> list[Any]:
        try:
            rows: list[Any] = await connection.fetch(self.sql(name), *values)
        except asyncpg.UndefinedColumnError as error:
            raise MigrationError(
                f"{self.table} is not a history of pgdbm: {error.args[0]}. Other tools have a table of that name, too. "
                f"Either rename theirs (ALTER TABLE … RENAME TO …), or keep ours in another one, with "
                f"migrations_table='pgdbm_migrations' wherever migrations are applied."
            ) from error
        return rows
