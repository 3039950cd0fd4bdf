"""The walk over a table in the order of a key: the queries for the next batch, and the SQL of its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from ...core.connection import fetch_once
from ...core.templating import literal
from ...sql import statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...core.connection import Connection


class UnwalkableError(ValueError):
    """A table cannot be walked in the order of a key; the text says why."""


class NextBatch(NamedTuple):
    """The first and the last key of a batch as JSON, and how many rows are between them."""

    first: str
    last: str
    rows: int


@dataclass(frozen=True)
class Walk:
    """How to read the ``table`` with the ``oid`` in the order of the columns of ``key``, which have ``types``; names
    and types are SQL. ``database`` is the oid of its database.

    ``total_rows`` is the server's estimate; None if it has none. Keys are JSON arrays of texts.
    """

    table: str
    oid: int
    database: int
    key: tuple[str, ...]
    types: tuple[str, ...]
    total_rows: int | None

    def bound(self, values: Sequence[str]) -> str:
        """A key as SQL: a single value, or a row of values."""
        cast = [f"{literal(value)}::{kind}" for value, kind in zip(values, self.types, strict=True)]
        return cast[0] if len(cast) == 1 else f"ROW({', '.join(cast)})"

    async def both_keys(self, connection: Connection) -> tuple[str, str] | None:
        """The first and the last key of the table; None if it has no rows."""
        (row,) = await fetch_once(connection, self.sql("both_keys", last_key=self.sql("last_key")))
        return None if row["first"] is None else (row["first"], row["last"])

    def sql_of_next_batch(self, position: str | None) -> str:
        """A query with three parameters: the ``position``, the last key, and the most rows of a batch.

        Returns one row: its columns are the fields of :class:`NextBatch`, with 0 ``rows`` at the end.
        """
        given, last = "$1::pg_catalog.jsonb", "$2::pg_catalog.jsonb"
        after = f"{given} IS NULL" if position is None else f"{self._columns} > {self._key_in(given)}"
        inside = f"{self._columns} <= {self._key_in(last)} AND {after}"
        return self.sql("next_batch", inside=inside, last=last, rows="$3::bigint")

    def sql_of_first_batch(self, cursor: str, rows: str) -> str:
        """The same for the first batch, in a query of a row ``cursor`` with the last key of the table, with 0 ``rows``
        if it has a position. ``rows`` is SQL: the most rows of the batch."""
        return self.sql("next_batch", inside=f"{cursor}.position IS NULL", last=f"{cursor}.last_key", rows=rows)

    def sql(self, name: str, **slots: str) -> str:
        return statement("backfill", name, **self._slots, **slots)

    @property
    def _columns(self) -> str:
        columns = ", ".join(f"t.{column}" for column in self.key)
        return f"({columns})" if len(self.key) > 1 else columns

    def _key_in(self, json: str) -> str:
        values = ", ".join(
            f"({json} OPERATOR(pg_catalog.->>) {index})::{kind}" for index, kind in enumerate(self.types)
        )
        return f"({values})" if len(self.types) > 1 else values

    @cached_property
    def _slots(self) -> dict[str, str]:
        names = [f"k{number}" for number in range(len(self.key))]
        columns = [f"t.{column}" for column in self.key]
        return {
            "table": self.table,
            "columns": ", ".join(f"{column} AS {name}" for column, name in zip(columns, names, strict=True)),
            "key": _as_json(columns),
            "key_of_batch": _as_json(names),
            "order": ", ".join(columns),
            "descending": ", ".join(f"{column} DESC" for column in columns),
        }


def _as_json(columns: Sequence[str]) -> str:
    # Dates and numbers have the same form in JSON, regardless of the session's settings.
    texts = (f"pg_catalog.to_jsonb({column}) OPERATOR(pg_catalog.#>>) '{{}}'::pg_catalog.text[]" for column in columns)
    return f"pg_catalog.jsonb_build_array({', '.join(texts)})"


async def walk_of(connection: Connection, table: str, key: Sequence[str]) -> Walk | None:
    """The walk over ``table`` by the columns of ``key``; None if there is no such table.

    Raises:
        UnwalkableError: says why it cannot be walked, and what to do.
    """
    found = await connection.fetchrow(statement("backfill", "table"), table)
    if found is None:
        return None
    if found["kind"] not in ("r", "p") or found["has_children"]:
        raise UnwalkableError(f"{table} is not a plain or partitioned table, or other tables inherit from it.")
    rows = await connection.fetch(statement("backfill", "columns"), found["oid"])
    columns = {row["name"]: row for row in rows} | {f'"{row["plain_name"]}"': row for row in rows}
    types: list[str] = []
    names: list[str] = []
    for column in key:
        row = columns.get(column if column.startswith('"') else column.lower())
        if row is None:
            raise UnwalkableError(f"{table} has no column {column}.")
        if not row["not_null"]:
            raise UnwalkableError(
                f"the column {column} of {table} can be null, and rows without a key would be skipped. Walk by a "
                f"column that is NOT NULL, such as the primary key."
            )
        names.append(row["name"])
        types.append(row["type"])
    indexes = await connection.fetch(statement("backfill", "unique_indexes"), found["oid"])
    if not any(list(index["columns"]) == names for index in indexes):
        known = "; ".join(f"{index['name']} ({', '.join(index['columns'])})" for index in indexes)
        raise UnwalkableError(
            f"{table} has no unique index on ({', '.join(names)}), in this order, not partial, valid and not "
            f"deferrable, that the batches could use. "
            f"{f'It has {known}.' if known else 'Create one, CONCURRENTLY, before.'}"
        )
    total = found["partition_rows"] if found["kind"] == "p" else found["table_rows"]
    return Walk(table, found["oid"], found["database"], tuple(names), tuple(types), total)
