"""Parses a long text piece by piece, so that only the trees of one piece are in memory. Pure.

A piece ends at a semicolon at the end of a line without ``--``. If that semicolon is inside a string, a comment, a
bracket or BEGIN ATOMIC, the piece is not valid SQL, and the text must be parsed as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..patterns import late_pattern
from .parse import RawStatement, parse_statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from .tree import Node

PIECE_CHARACTERS = 256 * 1024
_END = late_pattern(r";[ \t\r]*\n")


def pieces_of(sql: str, length: int = PIECE_CHARACTERS) -> Iterator[tuple[int, int]]:
    """Start and end of each piece of ``sql``, of ``length`` characters or a little more."""
    start = 0
    while start < len(sql):
        end = _cut(sql, start, start + length)
        yield start, end
        start = end


def _cut(sql: str, start: int, wanted: int) -> int:
    while (found := _END.search(sql, wanted)) is not None:
        line = max(sql.rfind("\n", start, found.start()) + 1, start)
        if "--" not in sql[line : found.start()]:
            # Avoids copying a text that is a single piece, apart from its last line break.
            return len(sql) if found.end() == len(sql) else found.start() + 1
        wanted = found.end()
    return len(sql)


def parse_piece(sql: str, start: int, end: int) -> list[RawStatement]:
    """The statements of ``sql`` between ``start`` and ``end``, with shifts from ``start``.

    Raises the same as :func:`~.parse.parse_statements`.
    """
    found = parse_statements(sql[start:end])
    return [RawStatement(start + one.start, start + one.end, one.tree, one.shift) for one in found]


class PieceTrees:
    """Iterates over the trees of all statements in ``pieces`` of ``sql``; each iteration parses them again."""

    def __init__(self, sql: str, pieces: Sequence[tuple[int, int]], left_out: AbstractSet[int] = frozenset()) -> None:
        self._sql = sql
        self._pieces = pieces
        self._left_out = left_out

    def without(self, indexes: AbstractSet[int]) -> PieceTrees:
        """The same without the trees at ``indexes``."""
        return PieceTrees(self._sql, self._pieces, indexes)

    def __iter__(self) -> Iterator[Node | None]:
        index = 0
        for start, end in self._pieces:
            for one in parse_piece(self._sql, start, end):
                if index not in self._left_out:
                    yield one.tree
                index += 1
