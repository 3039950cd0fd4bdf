"""What a plan knows about the tables that it changes. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ...pgparse.parse import SQLParseError, parse_statements
from ...pgparse.tree import alter_commands, definition, statement_node
from .column_types import types_of
from .rules.rule import not_null_columns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .column_types import ColumnType, Retyped


class TableUse(NamedTuple):
    """A table, ``schema.table``, with its partitions, indexes and TOAST. None: it could not be read.

    ``rows`` is an estimate, None where the server has none; 0 is exact. ``reads_per_s`` (scans, of indexes too) and
    ``writes_per_s`` (rows) are averages since ``statistics_since``. ``longest_transaction_s`` is the age of the oldest
    transaction of another session that uses the table now.
    """

    relation: str
    rows: int | None
    size_bytes: int | None
    reads_per_s: float | None = None
    writes_per_s: float | None = None
    statistics_since: datetime | None = None
    longest_transaction_s: float | None = None


class TableFacts(NamedTuple):
    """The facts that decide whether a table has to be read: ``not_null`` columns and the definitions of valid
    ``checks``.

    ``key``: the columns of a unique index without nulls, the primary key if there is one; None without such an index.
    ``used``: the columns that indexes, constraints, views and the like use, and generated columns. ``defaults``:
    the columns with one, each with its SQL. ``types``: the types of all columns; None if the type cannot change without
    a scan, as a CHECK constraint, a partial index or an index of an expression uses the column, or if it is not built
    in.
    """

    is_partitioned: bool
    not_null: tuple[str, ...]
    checks: tuple[str, ...]
    key: tuple[str, ...] | None
    used: tuple[str, ...] = ()
    defaults: Mapping[str, str] = MappingProxyType({})
    types: Mapping[str, ColumnType | None] = MappingProxyType({})

    @classmethod
    def of(
        cls, is_partitioned: bool, not_null: list[str], checks: list[str], key: list[str] | None, *others: list[Any]
    ) -> TableFacts:
        """The facts, from a row of the query ``facts``."""
        used, defaults, types = others
        found = None if key is None else tuple(key)
        return cls(is_partitioned, tuple(not_null), tuple(checks), found, tuple(used), dict(defaults), types_of(types))

    def never_null(self, column: str) -> bool:
        """Whether SET NOT NULL on ``column`` would scan nothing: it is NOT NULL, or a valid CHECK proves it."""
        return column in self.not_null or any(column in _proved_by(check) for check in self.checks)

    def stays_stored(self, retyped: Retyped) -> bool:
        """Whether the new type of a column makes the server neither rewrite nor scan the table, nor build an index."""
        column, new, collated = retyped
        old = self.types.get(column)
        return old is not None and new is not None and old.widens_to(new) and not (collated and column in self.used)


def _proved_by(check: str) -> list[str]:
    """The columns that the definition of a CHECK constraint proves not to be null."""
    try:
        (parsed,) = parse_statements(f"ALTER TABLE t ADD {check}")
    except SQLParseError:
        return []
    if parsed.tree is None:
        return []
    ((_, command),) = alter_commands(statement_node(parsed.tree)[1])
    return not_null_columns(definition(command).constraint)
