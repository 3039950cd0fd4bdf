"""Omits most rows of long ``VALUES`` lists before parsing: their trees take thirty times the text's memory.

Only rows of constants are omitted, which are valid in any context. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from .lexer import STRING, possessive, quoted_end
from .offsets import size_in_bytes
from .tree import nested

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .tree import Node

_KEPT_ROWS = 200
_SPACE = r"[ \t\n\r\f\v]*+"
_NUMBER = r"[-+]?[0-9]++(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?"
_ESCAPED = r"[eE]'" + possessive(r"(?:[^'\\]++|''|\\[^uUxX0-7])*") + "'"
_WORD = r"(?i:null|true|false|default|current_timestamp|now\(\))"
_TYPE = r"(?i:bigint|boolean|bytea|date|inet|int|integer|interval|jsonb?|numeric|text|time|timestamp|timestamptz|uuid)"
_CONSTANT = rf"(?:{_NUMBER}|{STRING}|{_ESCAPED}|{_WORD})(?:::{_TYPE})?"
_FURTHER_CONSTANTS = possessive(rf"(?:{_SPACE},{_SPACE}{_CONSTANT})*")
_ROW = rf"{_SPACE}\({_SPACE}{_CONSTANT}{_FURTHER_CONSTANTS}{_SPACE}\)"
_OFFSETS = ("location", "_start", "_end")


class Gap(NamedTuple):
    """A place where text was omitted: ``at`` is its offset in the shortened text. In characters, or in bytes."""

    at: int
    length: int


class Offsets:
    """Converts offsets in a shortened text to those in the original."""

    def __init__(self, gaps: Sequence[Gap]) -> None:
        self._starts = [gap.at for gap in gaps]
        self._before = [0, *accumulate(gap.length for gap in gaps)]

    def original(self, offset: int) -> int:
        return offset + self._before[bisect_right(self._starts, offset)]


class Shortened(NamedTuple):
    """``sql`` without some rows."""

    sql: str
    characters: Offsets
    bytes: Offsets

    def restore(self, tree: Node, shift: int) -> None:
        """Convert the locations in ``tree``, which have to be shifted by ``shift`` bytes, to those in the original
        text."""
        for node in nested(tree):
            for field, value in node.ListFields():
                if isinstance(value, int) and field.name.endswith(_OFFSETS):
                    setattr(node, field.name, self.bytes.original(value + shift) - shift)


def without_rows(sql: str) -> Shortened | None:
    """``sql`` without the constant rows of each ``VALUES`` list after the first ones; None if none is that long."""
    parts: list[str] = []
    characters: list[Gap] = []
    sizes: list[Gap] = []
    position = length = size = 0
    for start, end in _left_out(sql):
        part = sql[position:start]
        parts.append(part)
        length += len(part)
        size += len(part.encode())
        characters.append(Gap(length, end - start))
        sizes.append(Gap(size, size_in_bytes(sql, start, end)))
        position = end
    if not parts:
        return None
    return Shortened("".join((*parts, sql[position:])), Offsets(characters), Offsets(sizes))


@cache
def _values() -> re.Pattern[str]:
    """``VALUES`` with its first row. Few texts are long, and compiling it and the next one takes 1.5 ms."""
    return re.compile(rf"(?<![\w$.\"])values{_ROW}", re.IGNORECASE)


@cache
def _further_row() -> re.Pattern[str]:
    return re.compile(rf"{_SPACE},{_ROW}")


def _left_out(sql: str) -> Iterator[tuple[int, int]]:
    values, further_row = _values(), _further_row()
    outside = 0
    found = values.search(sql)
    while found is not None:
        start = _skip_rows(sql, found.end(), _KEPT_ROWS)
        if start is None:
            found = values.search(sql, found.end())
            continue
        quoted = quoted_end(sql, outside, found.start())
        if quoted is not None:
            outside = quoted
            found = values.search(sql, quoted)
            continue
        end = start
        while (row := further_row.match(sql, end)) is not None:
            end = row.end()
        if end > start:
            yield start, end
        outside = end
        found = values.search(sql, end)


def _skip_rows(sql: str, position: int, count: int) -> int | None:
    further_row = _further_row()
    for _ in range(count):
        row = further_row.match(sql, position)
        if row is None:
            return None
        position = row.end()
    return position
