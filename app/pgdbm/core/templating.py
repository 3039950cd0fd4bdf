"""Placeholders in SQL: ``{{tables.x}}``, ``{{tables.s.x}}`` and ``{{schema}}``.

Pure: text in, text out. Everything outside a placeholder goes through unchanged. ``\\{{name}}`` stands for a literal
``{{name}}``, for SQL that stores templates of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from .identifiers import is_identifier, quote

# Only braces around something like a name count, so that array literals such as '{{1,2},{3,4}}' are left alone; what
# begins with "tables." is meant as ours, whatever follows.
_BRACES = r"\{\{[ \t]*(tables\.[^{}\n]*?|[A-Za-z_][\w.\-]*)[ \t]*\}\}(\.?)"
_PLACEHOLDER = re.compile(_BRACES)
# Slower by far, since it cannot skip to the next brace.
_MAYBE_ESCAPED = re.compile(r"\\?" + _BRACES)


class TemplateError(ValueError):
    """A placeholder that is not one of ours. ``line`` and ``column`` count from 1."""

    def __init__(self, placeholder: str, reason: str, line: int, column: int) -> None:
        super().__init__(f"{placeholder} at line {line}, column {column}: {reason}")
        self.placeholder = placeholder
        self.reason = reason
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Rendered:
    """A text after rendering for ``schema``, and how its offsets map back."""

    text: str
    source: str
    schema: str | None

    @cached_property
    def edits(self) -> tuple[tuple[int, int, int, int], ...]:
        """(start in ``text``, length in ``text``, start in ``source``, length in ``source``) of every placeholder.

        In order, and in characters. Only made when somebody asks where something is.
        """
        edits = []
        shift = 0
        for match in _placeholders(self.source).finditer(self.source):
            start, end = match.span()
            length = len(_replacement(match, self.schema))
            edits.append((start + shift, length, start, end - start))
            shift += length - (end - start)
        return tuple(edits)

    def source_offset(self, offset: int) -> int:
        """The offset in the source for ``offset`` in the rendered text; inside a placeholder, where that begins."""
        shift = 0
        for start, length, source_start, source_length in self.edits:
            if offset < start:
                break
            if offset < start + length:
                return source_start
            shift = (source_start + source_length) - (start + length)
        return min(offset + shift, len(self.source))

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column (from 1) in the source for ``offset`` in the rendered text."""
        return line_and_column(self.source, self.source_offset(offset))


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1 and in characters, of ``offset`` in ``text``."""
    line_start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - line_start + 1


def render(source: str, schema: str | None) -> Rendered:
    """Render ``source`` for ``schema`` (None: unqualified), with the way back to the source.

    Raises TemplateError for a placeholder that does not exist or holds something that is no identifier.
    """
    if "{{" not in source:
        return Rendered(source, source, schema)
    return Rendered(_placeholders(source).sub(lambda match: _replacement(match, schema), source), source, schema)


@lru_cache(maxsize=4096)
def render_query(source: str, schema: str | None) -> str:
    """The text of :func:`render`, remembered, so that a query that is sent again pays nothing."""
    return render(source, schema).text


def _placeholders(source: str) -> re.Pattern[str]:
    return _MAYBE_ESCAPED if "\\{{" in source else _PLACEHOLDER


def _replacement(match: re.Match[str], schema: str | None) -> str:
    if match[0][0] == "\\":
        return match[0][1:]
    try:
        return _expanded(match[1], match[2], schema)
    except _UnknownError as error:
        raise TemplateError(match[0], str(error), *line_and_column(match.string, match.start())) from None


class _UnknownError(Exception):
    """Why a name cannot be expanded."""


# A file names its tables several times.
@lru_cache(maxsize=4096)
def _expanded(name: str, dot: str, schema: str | None) -> str:
    if name == "schema":
        if schema is None:
            return "" if dot else "public"
        return quote(schema) + dot
    head, *names = name.split(".")
    if head != "tables" or not 1 <= len(names) <= 2:
        raise _UnknownError(
            "there is no such placeholder. Use {{tables.name}}, {{tables.schema.name}} or {{schema}}; "
            "write \\{{" + name + "}} for literal braces."
        )
    for part in names:
        if not is_identifier(part):
            raise _UnknownError(f"{part!r} is not a plain identifier.")
    if len(names) == 2:
        return f"{quote(names[0])}.{names[1]}{dot}"
    return (names[0] if schema is None else f"{quote(schema)}.{names[0]}") + dot
