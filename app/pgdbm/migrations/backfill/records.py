"""The table of backfills: the position of each, and whether it is paused. It is in the same schema as the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.creation import NOT_THERE, create_if_missing
from ...core.templating import quote
from ...sql import statement
from .conditions import Conditions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ...core.connection import Connection
    from .walk import Walk

TABLE = "pgdbm_backfills"


@dataclass(frozen=True, slots=True)
class BackfillState:
    """How far a backfill is.

    ``position`` is the key of the last row that was walked, as a JSON array of texts. ``total_rows`` is an estimate.
    ``waiting_for``: why it waits; None while it works. ``rate``: the limit in rows a second, where it was set while
    it runs.
    """

    filename: str
    table_name: str | None
    key: str | None
    position: str | None
    total_rows: int | None
    walked_rows: int
    changed_rows: int
    batches: int
    batch_rows: int | None
    rows_per_s: float | None
    paused: bool
    rate: int | None
    waiting_for: str | None
    started_at: datetime | None
    updated_at: datetime
    ended_at: datetime | None


@dataclass(slots=True)
class Cursor:
    """The row of a backfill as its runner knows it. Keys are JSON arrays of texts."""

    position: str | None
    last_key: str | None
    total_rows: int | None
    walked_rows: int
    changed_rows: int
    batches: int
    batch_rows: int
    paused: bool
    rate: int | None


class BackfillRecords:
    """The backfills of one module in one schema."""

    def __init__(self, schema: str, module: str) -> None:
        self.table = f"{quote(schema)}.{quote(TABLE)}"
        self._module = module

    async def create(self, connection: Connection) -> None:
        """Create the table unless it exists. Safe against concurrent sessions."""
        await create_if_missing(connection, self._sql("create"))

    async def walked(self, connection: Connection, filename: str) -> tuple[str, str] | None:
        """The table and the key that ``filename`` has walked, if it has not ended."""
        try:
            row = await connection.fetchrow(self._sql("walked"), self._module, filename)
        except NOT_THERE:
            return None
        return None if row is None else (row["table_name"], row["key"])

    async def start(self, connection: Connection, filename: str, walk: Walk, batch_rows: int) -> Cursor:
        """The cursor of ``filename``: where an earlier run stopped, or at the beginning."""
        key = ", ".join(walk.key)
        values = (self._module, filename, walk.table, key, batch_rows, walk.total_rows)
        row = await connection.fetchrow(self._sql("start"), *values)
        assert row is not None
        cursor = Cursor(**row)
        if cursor.last_key is None:
            cursor.last_key = await walk.last_key(connection)
            if cursor.last_key is not None:
                await connection.execute(self._sql("keep_last_key"), self._module, filename, cursor.last_key)
        return cursor

    async def move(
        self,
        connection: Connection,
        filename: str,
        cursor: Cursor,
        walk: Walk,
        values: tuple[str, int, int, int, float],
    ) -> Conditions | None:
        """Write the cursor: position, rows walked and changed, size of the next batch, rows a second.

        In the transaction of the batch. None if another runner has moved it since ``cursor`` was read.
        """
        sql = self._sql("move", conditions=_conditions(walk))
        row = await connection.fetchrow(sql, self._module, filename, cursor.batches, *values)
        return None if row is None else Conditions(*row)

    async def read(self, connection: Connection, filename: str, walk: Walk) -> Conditions:
        """Whether the backfill is paused or limited, and whether the database is busy."""
        sql = self._sql("read", conditions=_conditions(walk))
        row = await connection.fetchrow(sql, self._module, filename)
        assert row is not None
        return Conditions(*row)

    async def wait(self, connection: Connection, filename: str, reason: str | None) -> None:
        """Show why the backfill waits; None: it continues."""
        await connection.execute(self._sql("wait"), self._module, filename, reason)

    async def end(self, connection: Connection, filename: str) -> None:
        """In the transaction of the history row."""
        await connection.execute(self._sql("end"), self._module, filename)

    async def pause(
        self, connection: Connection, filename: str, *, paused: bool | None = None, rate: int | None = None
    ) -> bool:
        """Pause, resume or limit a backfill; False if it has ended. The table has to exist."""
        return await connection.fetchval(self._sql("pause"), self._module, filename, paused, rate) is not None

    async def states(self, connection: Connection) -> Sequence[BackfillState]:
        """Every backfill of the module that has started, or was paused before."""
        try:
            return [BackfillState(**row) for row in await connection.fetch(self._sql("list"), self._module)]
        except NOT_THERE:
            return []

    def _sql(self, name: str, **slots: str) -> str:
        return statement("backfill", name, backfills=self.table, **slots)


def _conditions(walk: Walk) -> str:
    return statement("backfill", "conditions", oid=str(walk.oid))
