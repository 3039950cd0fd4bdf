"""The table of backfills: the position of each, and whether it is paused. It is in the same schema as the journal."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

from ...core.connection import fetch_once
from ...core.creation import NOT_THERE
from ...core.templating import literal, quote
from ...errors import MigrationError
from ...sql import statement
from .conditions import Conditions
from .walk import NextBatch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ...core.connection import Connection, Row
    from .walk import Walk

TABLE = "pgdbm_backfills"
_STATEMENT = "$statement$"


@dataclass(frozen=True, slots=True)
class BackfillState:
    """The progress of a backfill.

    ``position`` is the key of the last row that was walked, as a JSON array of texts. ``total_rows`` is an estimate.
    ``waiting_for``: why it waits; None while it works. ``rate``: the limit in rows per second, if it was set while
    it runs.
    """

    filename: str
    table_name: str | None
    key: str | None
    position: str | None
    total_rows: int | None
    processed_rows: int
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
    processed_rows: int
    changed_rows: int
    batches: int
    batch_rows: int


class BeforeBatch(NamedTuple):
    """What has to be known before a batch: whether to wait; how many sessions have waited for rows of the batch before;
    and the batch, None at the end."""

    conditions: Conditions
    have_waited: int
    batch: NextBatch | None


class BackfillRecords:
    """The backfills of one module in one schema."""

    def __init__(self, schema: str, module: str) -> None:
        self.table = f"{quote(schema)}.{quote(TABLE)}"
        self._module = module

    @property
    def creation(self) -> str:
        """SQL that creates the table unless it exists."""
        return self._sql("create")

    async def start(
        self, connection: Connection, filename: str, walk: Walk, batch_rows: int
    ) -> tuple[Cursor, BeforeBatch | None]:
        """The cursor of ``filename``: where an earlier run stopped; or the beginning, with what :meth:`next` returns
        before a batch of up to ``batch_rows`` rows.

        Raises:
            MigrationError: an earlier run has walked part of another table, or by another key.
        """
        first_batch = walk.sql_of_first_batch("b", "$5::integer::bigint")
        sql = self._sql("start", last_key=walk.sql("last_key"), conditions=_conditions(walk), first_batch=first_batch)
        key = ", ".join(walk.key)
        values = (self._module, filename, walk.table, key, batch_rows, walk.total_rows)
        (row,) = await fetch_once(connection, sql, *values)
        cursor = Cursor(*(row[field.name] for field in fields(Cursor)))
        if (row["table_name"], row["key"]) != (walk.table, key):
            raise MigrationError(
                f"{filename}: the backfill has walked part of {row['table_name']} by {row['key']}, but its header now "
                f"has {walk.table} by {key}. Restore the header, or write a new file.",
                filename,
            )
        return cursor, _before_batch(row) if cursor.position is None else None

    def move(self, filename: str, cursor: Cursor, batch: NextBatch, changed: int | None, rows_per_s: float) -> str:
        """SQL that moves the cursor behind ``batch``, which has changed as many rows; None: as :func:`counting` says.

        Called in the transaction of the batch. It fails, with what ``raise_if_refused`` knows, if another runner has
        moved the cursor since ``cursor`` was read.
        """
        values = {
            "module": literal(self._module),
            "filename": literal(filename),
            "position": literal(batch.last),
            "rows": batch.rows,
            "changed": statement("backfill", "changed") if changed is None else changed,
            "batches": cursor.batches,
            "rows_per_s": rows_per_s,
            # No batch follows the last one, which would be halved.
            "waiters": "NULL" if batch.last == cursor.last_key else statement("backfill", "waiters"),
        }
        # Statements are kept by their slots, and these have other values for each batch.
        slots = {name: f"%({name})s" for name in values}
        return statement("backfill", "move", backfills=self.table.replace("%", "%%"), **slots) % values

    async def next(self, connection: Connection, filename: str, walk: Walk, cursor: Cursor, rows: int) -> BeforeBatch:
        """What has to be known before a batch of up to ``rows`` rows, in one round trip. Updates the changed rows of
        ``cursor``."""
        sql = self._sql("next", conditions=_conditions(walk), next_batch=walk.sql_of_next_batch(cursor.position))
        row = await connection.fetchrow(sql, cursor.position, cursor.last_key, rows, self._module, filename)
        assert row is not None
        cursor.changed_rows = row["changed_rows"]
        return _before_batch(row)

    async def changed_rows(self, connection: Connection, filename: str) -> int:
        """How many rows the batches until now have changed."""
        ((changed_rows,),) = await fetch_once(connection, self._sql("changed_rows"), self._module, filename)
        return int(changed_rows)

    async def read(self, connection: Connection, filename: str, walk: Walk) -> Conditions:
        """Whether the backfill is paused or limited, and whether the database is busy."""
        sql = self._sql("read", conditions=_conditions(walk))
        row = await connection.fetchrow(sql, self._module, filename)
        assert row is not None
        return _conditions_in(row)

    async def wait(self, connection: Connection, filename: str, reason: str | None) -> None:
        """Record why the backfill waits; None: it continues."""
        await connection.execute(self._sql("wait"), self._module, filename, reason)

    async def end(self, connection: Connection, filename: str, rows_per_s: float | None) -> None:
        """Called in the transaction that inserts the history row. ``rows_per_s``: at the end; None without a batch."""
        await fetch_once(connection, self._sql("end"), self._module, filename, rows_per_s)

    async def pause(
        self, connection: Connection, filename: str, *, paused: bool | None = None, rate: int | None = None
    ) -> bool:
        """Pause, resume or limit a backfill; False if it has ended. The table must exist."""
        return await connection.fetchval(self._sql("pause"), self._module, filename, paused, rate) is not None

    async def states(self, connection: Connection) -> Sequence[BackfillState]:
        """Every backfill of the module that has started, or was paused or limited before it started."""
        try:
            return [BackfillState(**row) for row in await connection.fetch(self._sql("list"), self._module)]
        except NOT_THERE:
            return []

    def _sql(self, name: str, **slots: str) -> str:
        return statement("backfill", name, backfills=self.table, **slots)


def _conditions(walk: Walk) -> str:
    return statement("backfill", "conditions", oid=str(walk.oid), database=str(walk.database))


def _conditions_in(row: Row) -> Conditions:
    return Conditions(*(row[field] for field in Conditions._fields))


def _before_batch(row: Row) -> BeforeBatch:
    batch = NextBatch(row["first"], row["last"], row["rows"]) if row["rows"] else None
    return BeforeBatch(_conditions_in(row), row["have_waited"], batch)


def counting(*, returns: bool) -> tuple[str, str]:
    """What precedes and follows a statement, with a RETURNING clause of its own if it ``returns``, so that those after
    it in the transaction know how many rows it has changed."""
    sql = statement("backfill", "counted", statement=_STATEMENT, returning="" if returns else "RETURNING 1")
    before, _, after = sql.partition(_STATEMENT)
    return before, after
