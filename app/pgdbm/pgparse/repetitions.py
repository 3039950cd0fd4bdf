"""Parses the statements of a data file: of those that differ only in their constants, only one is parsed. Pure.

A statement's template is its text with a marker in place of each string and integer. INSERT, UPDATE and DELETE
statements with the same template have the same tokens except for the values, so if one of them is valid, all are, with
the same traits. This takes a tenth of the time.
"""

from __future__ import annotations

from typing import NamedTuple

from ..patterns import late_pattern
from .parse import SQLParseError, parse_statements
from .traits import ROW_CHANGES, Traits, traits_of
from .tree import statement_node

# Comments, escapes and dollar quotes, and strings whose content is part of the syntax.
_UNSUPPORTED = late_pattern(r"--|/\*|[$\\\x00-\x02]|&['\"]")
_STRING = late_pattern(r"'[^']*+'")
# Numbers with more digits may be too large to be integers in the grammar.
_INTEGER = late_pattern(r"(?<![\w.])[0-9]{1,9}(?![\w.])")
_DECIMAL = late_pattern(r"(?<![\w.])[0-9]++\.[0-9]++(?![\w.])")
_END = ";\n"
_SPACE = " \t\n\r\f\v"
_LEAST_REPETITIONS = 8


class Found(NamedTuple):
    """A statement. ``start`` and ``end`` count characters."""

    start: int
    end: int
    traits: Traits


class Repetitions:
    """Finds the statements in pieces of one text, and parses those whose template is new."""

    def __init__(self) -> None:
        self._known: dict[str, Traits] = {}

    def find(self, sql: str, start: int, end: int) -> list[Found] | None:
        """The statements of ``sql`` between ``start`` and ``end``; None if the piece must be parsed as a whole.

        ``start`` and ``end`` must be at the ends of statements.
        """
        if sql.count(_END, start, end) < _LEAST_REPETITIONS - 1:
            return None
        piece = sql[start:end].removesuffix(";")
        templates = _templates(piece)
        texts = piece.split(_END)
        if templates is None or len(templates) != len(texts):
            return None
        found: list[Found] = []
        offset = start
        for text, template in zip(texts, templates, strict=True):
            begin = offset + len(text) - len(text.lstrip(_SPACE))
            stop = offset + len(text)
            if begin < stop:
                traits = self._known.get(template) or self._parsed(text, template)
                if traits is None:
                    return None
                found.append(Found(begin, stop, traits))
            offset = stop + len(_END)
        return found

    def _parsed(self, text: str, template: str) -> Traits | None:
        if ";" in template:
            return None
        try:
            (statement,) = parse_statements(text)
        except (SQLParseError, ValueError):
            return None
        if statement.tree is None:
            return None
        traits = traits_of(*statement_node(statement.tree))
        if traits.kind in ROW_CHANGES:
            self._known[template] = traits
        return traits


def _templates(piece: str) -> list[str] | None:
    """The templates of the statements in ``piece``; None if few of them repeat, or if a template cannot be
    determined."""
    if _UNSUPPORTED.search(piece):
        return None
    without_strings = _STRING.sub("\x00", piece)
    parts = without_strings.split('"')
    # Every second part is a quoted name. An apostrophe in one would look like the beginning of a string.
    names = "".join(parts[1::2])
    if len(parts) % 2 == 0 or "\x00" in names or "\n" in names:
        return None
    without_integers = _INTEGER.sub("\x01", without_strings)
    for text in (without_integers, _DECIMAL.sub("\x02", without_integers)):
        templates = text.split(_END)
        if len(set(templates)) * _LEAST_REPETITIONS <= len(templates):
            return templates
    return None
