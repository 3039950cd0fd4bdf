"""Which changes of a column's type leave its table unchanged: the server neither rewrites nor scans it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...pgparse.tree import strings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...pgparse.tree import Node

_UNLIMITED = -1
_HEADER = 4
_MOST_DIGITS = 6
_TEMPORAL = frozenset({"timestamp", "timestamptz", "time", "timetz"})


class ColumnType(NamedTuple):
    """A type of pg_catalog by its name there. ``limits``: a length, a precision, or precision and scale; or none."""

    name: str
    limits: tuple[int, ...] = ()

    @classmethod
    def stored(cls, name: str, modifier: int) -> ColumnType:
        """The type with this name and ``atttypmod``."""
        if modifier == _UNLIMITED:
            return cls(name)
        if name in ("varchar", "bpchar"):
            return cls(name, (modifier - _HEADER,))
        if name == "numeric":
            # 11 bits with a sign.
            scale = ((modifier - _HEADER & 0x7FF) ^ 0x400) - 0x400
            return cls(name, (modifier - _HEADER >> 16 & 0xFFFF, scale))
        return cls(name, (modifier,))

    @classmethod
    def written(cls, node: Node) -> ColumnType | None:
        """The type as a statement has it; None if it cannot be compared here."""
        limits: list[int] = []
        for argument in node.typmods:
            if not argument.HasField("a_const") or argument.a_const.WhichOneof("val") != "ival":
                return None
            limits.append(argument.a_const.ival.ival)
        names = strings(node.names)
        if node.array_bounds or node.setof or not (len(names) == 1 or names[0] == "pg_catalog"):
            return None
        if names[-1] == "numeric" and len(limits) == 1:
            limits.append(0)
        return cls(names[-1], tuple(limits))

    def widens_to(self, new: ColumnType) -> bool:
        """Whether a column of this type can become one of the ``new`` type, and all values stay as they are stored."""
        if (self.name, new.name) == ("varchar", "text"):
            return True
        if (self.name, new.name) == ("text", "varchar"):
            return not new.limits
        if self.name != new.name:
            return False
        if self == new or not new.limits:
            return self == new or new.name in _TEMPORAL or new.name in ("varchar", "numeric", "varbit")
        if new.name in _TEMPORAL and new.limits[0] >= _MOST_DIGITS:
            return True
        if not self.limits:
            return False
        if new.name == "numeric":
            return self.limits[0] <= new.limits[0] and self.limits[1] == new.limits[1]
        return (new.name in _TEMPORAL or new.name in ("varchar", "varbit")) and self.limits[0] <= new.limits[0]


class Retyped(NamedTuple):
    """A column with its new type; None if that cannot be compared. ``collated``: it also has a new collation."""

    column: str
    new: ColumnType | None
    collated: bool = False


def types_of(rows: Sequence[Sequence[str | None]]) -> dict[str, ColumnType | None]:
    """Types by column. ``rows``: the name of each column, that of its type, or None, and its ``atttypmod``."""
    return {
        str(column): None if name is None else ColumnType.stored(name, int(modifier or _UNLIMITED))
        for column, name, modifier in rows
    }
