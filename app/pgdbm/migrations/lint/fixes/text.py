"""The text of a statement as its author wrote it, cut at tokens: placeholders and comments are kept. Pure."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from ....core.templating import quote
from ....pgparse.lexer import Token, tokens
from ....pgparse.offsets import CharacterOffsets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ....core.templating import Rendered

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*\Z")
_LONGEST_NAME = 63
_DEPTHS = {"(": 1, "[": 1, ")": -1, "]": -1}


class Piece:
    """Consecutive tokens of a statement, without the comments. Numbers of tokens count from 0 within the piece."""

    def __init__(self, rendered: Rendered, found: Sequence[Token], comments: Sequence[Token] = ()) -> None:
        self.rendered = rendered
        self.tokens = found
        self.comments = comments
        """The comments between this piece and the one before it."""

    @cached_property
    def words(self) -> list[str]:
        """Words in upper case, everything else unchanged."""
        text = self.rendered.text
        return [text[start:end].upper() if kind == "word" else text[start:end] for kind, start, end in self.tokens]

    def source(self, first: int = 0, last: int | None = None) -> str:
        """The source from token ``first`` up to, but not including, token ``last``."""
        chosen = self.tokens[first:last]
        return self._between(chosen[0].start, chosen[-1].end) if chosen else ""

    def part(self, first: int, last: int | None = None) -> Piece:
        """The piece from token ``first`` up to, but not including, token ``last``."""
        return Piece(self.rendered, self.tokens[first:last])

    def with_text(self, *inserted: tuple[int, str]) -> str:
        """The source with texts inserted after the tokens with these numbers, each with a space before it."""
        parts: list[str] = []
        begin = self.tokens[0].start
        for number, text in sorted(inserted):
            end = self.tokens[number].end
            parts += (self._between(begin, end), f" {text}")
            begin = end
        return "".join((*parts, self._between(begin, self.tokens[-1].end)))

    def commented(self, sql: str) -> str:
        """``sql`` below the comments that precede this piece."""
        return "\n".join([*(self._between(one.start, one.end).rstrip() for one in self.comments), sql])

    def find(self, *wanted: str, start: int = 0) -> int | None:
        """The number of the first of the consecutive tokens ``wanted``, outside brackets."""
        depth = 0
        for number in range(start, len(self.words)):
            if depth == 0 and tuple(self.words[number : number + len(wanted)]) == wanted:
                return number
            depth += _DEPTHS.get(self.words[number], 0)
        return None

    def closing(self, opening: int) -> int:
        """The number of the bracket that closes the one at ``opening``."""
        depth = 0
        for number in range(opening, len(self.words)):
            depth += _DEPTHS.get(self.words[number], 0)
            if depth == 0:
                return number
        return len(self.words) - 1

    def at(self, offset: int) -> int:
        """The number of the token at ``offset``, in characters of the rendered text."""
        return next((number for number, one in enumerate(self.tokens) if one.end > offset), len(self.tokens))

    def after_name(self, start: int) -> int:
        """The number of the token after a name, with its schema, that begins at ``start``."""
        while start + 1 < len(self.words) and self.words[start + 1] == ".":
            start += 2
        return start + 1

    def split(self, start: int) -> Iterator[Piece]:
        """The pieces between the commas outside brackets, from token ``start`` on."""
        depth = 0
        begin = start
        for number in range(start, len(self.words) + 1):
            word = self.words[number] if number < len(self.words) else ","
            if word == "," and depth == 0:
                after = self.tokens[begin - 1].end if begin else 0
                before = self.tokens[begin].start if begin < number else after
                yield Piece(self.rendered, self.tokens[begin:number], self._comments_in(after, before))
                begin = number + 1
            depth += _DEPTHS.get(word, 0)

    def _comments_in(self, start: int, end: int) -> list[Token]:
        return [one for one in self.comments if start <= one.start < end]

    def _between(self, start: int, end: int) -> str:
        return self.rendered.source[self.rendered.source_offset(start) : self.rendered.source_offset(end)]


class StatementText(Piece):
    """A whole statement; ``comments`` are all comments in it. ``shift`` is that of its parse tree."""

    def __init__(self, rendered: Rendered, start: int, end: int, shift: int) -> None:
        text = rendered.text[:end]
        found = list(tokens(text, start))
        super().__init__(
            rendered,
            [one for one in found if one.kind != "comment"],
            [one for one in found if one.kind == "comment"],
        )
        self._shift = shift

    def offset(self, location: int) -> int:
        """Characters in the rendered text, for bytes in the tree of the statement."""
        return CharacterOffsets(self.rendered.text).of_byte(location + self._shift)

    def name(self, identifier: str) -> str:
        """``identifier`` as it is written in SQL, in quotes if the statement has them or they are needed."""
        quoted = quote(identifier)
        written = self.rendered.text[self.tokens[0].start : self.tokens[-1].end]
        return quoted if quoted in written or not _PLAIN.match(identifier) else identifier


def default_name(table: str, columns: Sequence[str], label: str) -> str:
    """The name that PostgreSQL gives to a constraint or index without one, if no other object has it."""
    first, second = table, "_".join(columns)
    room = _LONGEST_NAME - len(label) - (2 if second else 1)
    while len(first.encode()) + len(second.encode()) > room:
        if len(first.encode()) > len(second.encode()):
            first = first[:-1]
        else:
            second = second[:-1]
    return "_".join(part for part in (first, second, label) if part)
