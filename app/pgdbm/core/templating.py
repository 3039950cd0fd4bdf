"""Placeholders in SQL: ``{{tables.x}}``, ``{{tables.s.x}}`` and ``{{schema}}``. Pure.

They are replaced everywhere, including string constants, quoted identifiers, dollar quotes and comments, where
dynamic SQL is written. Any other text in double braces is left unchanged in those places: it is data, such as a mail
template. Elsewhere it cannot be SQL and is an error. ``\\{{schema}}`` is a literal ``{{schema}}``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING

from ..errors import SchemaError
from ..patterns import late_pattern
from ..pgparse.lexer import quoted_tokens

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

_LONG = 1024 * 1024
# A query with many values in its text is rarely repeated, and would waste memory in the cache.
_LONGEST_CACHED = 16 * 1024
_LINE_BREAK = late_pattern("\n")
_PLAIN = late_pattern(r"[A-Za-z_][A-Za-z0-9_]{0,62}\Z")


def is_identifier(name: str) -> bool:
    """Whether ``name`` is ``[A-Za-z_][A-Za-z0-9_]{0,62}``. PostgreSQL truncates names after 63 bytes."""
    return _PLAIN.match(name) is not None


def check_identifier(name: object, what: str = "schema") -> str:
    """Return ``name`` if it is a plain identifier, else raise SchemaError; ``what`` is what it names."""
    if not isinstance(name, str) or not is_identifier(name):
        raise SchemaError(
            f"Invalid {what} name {name!r}: use letters, digits and underscores, at most 63, not "
            f"beginning with a digit.",
            schema=name if isinstance(name, str) else None,
        )
    return name


def quote(identifier: str) -> str:
    """``identifier`` in double quotes, for places where SQL accepts no parameter."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: str) -> str:
    """``value`` as an SQL string that is valid with standard_conforming_strings on or off."""
    quoted = "'" + value.replace("'", "''").replace("\\", "\\\\") + "'"
    return f" E{quoted}" if "\\" in value else quoted


# Only braces around something like a name, so that array literals such as '{{1,2},{3,4}}' do not match. After "tables."
# anything matches, to report names that are invalid.
_BRACES = r"\{\{[ \t]*(tables\.[^{}\n]*?|[A-Za-z_][\w.\-]*)[ \t]*\}\}(\.?)"
_PLACEHOLDER = late_pattern(_BRACES)
# Much slower, because it cannot skip to the next brace.
_MAYBE_ESCAPED = late_pattern(r"\\?" + _BRACES)


class TemplateError(ValueError):
    """A placeholder that does not exist, or contains an invalid name. ``line`` and ``column`` count from 1.

    ``invalid`` is the kind of object with the invalid name, a table or a schema; None if the placeholder does not
    exist.
    """

    def __init__(self, placeholder: str, reason: str, line: int, column: int, invalid: str | None = None) -> None:
        super().__init__(f"{placeholder} at line {line}, column {column}: {reason}")
        self.placeholder = placeholder
        self.reason = reason
        self.line = line
        self.column = column
        self.invalid = invalid


@dataclass(repr=False)
class Rendered:
    """A text rendered for ``schema``, with a map of its offsets to the source."""

    text: str
    source: str
    schema: str | None

    @cached_property
    def edits(self) -> tuple[tuple[int, int, int, int], ...]:
        """(start in ``text``, length in ``text``, start in ``source``, length in ``source``) of every placeholder.

        In order, and in characters. Computed on first use, usually for an error.
        """
        edits = []
        shift = 0
        for match in _placeholders(self.source).finditer(self.source):
            start, end = match.span()
            replacement = _replacement(self.schema, match)
            if replacement == match[0]:
                # Data in quoted text, or a placeholder that renders as itself.
                continue
            length = len(replacement)
            edits.append((start + shift, length, start, end - start))
            shift += length - (end - start)
        return tuple(edits)

    def source_offset(self, offset: int) -> int:
        """The offset in the source for ``offset`` in the rendered text; inside a placeholder, where that begins."""
        index = bisect_right(self._edit_starts, offset) - 1
        if index < 0:
            return min(offset, len(self.source))
        start, length, source_start, source_length = self.edits[index]
        if offset < start + length:
            return source_start
        return min(offset + source_start + source_length - start - length, len(self.source))

    @cached_property
    def _edit_starts(self) -> array[int]:
        return array("q", (start for start, *_ in self.edits))

    @cached_property
    def _line_starts(self) -> array[int]:
        starts = array("q", (0,))
        starts.extend(found.end() for found in _LINE_BREAK.finditer(self.source))
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column (from 1) in the source for ``offset`` in the rendered text.

        This is called for every statement of a large file, so it must not take longer for later statements.
        """
        source_offset = self.source_offset(offset)
        line = bisect_right(self._line_starts, source_offset)
        return line, source_offset - self._line_starts[line - 1] + 1


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column, both from 1 and in characters, of ``offset`` in ``text``."""
    line_start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - line_start + 1


def render(source: str, schema: str | None) -> Rendered:
    """Render ``source`` for ``schema``; None leaves names unqualified.

    Raises:
        TemplateError: outside quoted text and comments, a placeholder does not exist or contains an invalid name.
    """
    if "{{" not in source:
        return Rendered(source, source, schema)
    if len(source) > _LONG:
        return Rendered(_rendered_long(source, schema), source, schema)
    if "\\{{" in source:
        text = _MAYBE_ESCAPED.sub(partial(_replacement, schema), source)
    else:
        text = _PLACEHOLDER.sub(partial(_plain_replacement, schema), source)
    return Rendered(text, source, schema)


def _rendered_long(source: str, schema: str | None) -> str:
    matches = _placeholders(source).finditer(source)
    first = next(matches, None)
    if first is not None and first[0][0] == "{" and all(one[0] == first[0] for one in matches):
        # Most data files have one table, and replace() makes no copy but the result.
        with suppress(_RefusedError):
            return source.replace(first[0], _expanded(first[1], first[2], schema))
    return "".join(_blocks(source, schema))


def _blocks(source: str, schema: str | None) -> Iterator[str]:
    """``source`` rendered, in blocks: a part for each placeholder would take more memory than the file."""
    parts: list[str] = []
    position = begin = 0
    for match in _placeholders(source).finditer(source):
        parts += (source[position : match.start()], _replacement(schema, match))
        position = match.end()
        if position - begin > _LONG:
            yield "".join(parts)
            parts, begin = [], position
    yield "".join((*parts, source[position:]))


def render_query(source: str, schema: str | None) -> str:
    """The text of :func:`render`, cached for short queries, so that repeating one costs nothing."""
    if "{{" not in source:
        return source
    return rendered_query(source, schema) if len(source) <= _LONGEST_CACHED else render(source, schema).text


@lru_cache(maxsize=4096)
def rendered_query(source: str, schema: str | None) -> str:
    return render(source, schema).text


def _placeholders(source: str) -> re.Pattern[str]:
    return _MAYBE_ESCAPED if "\\{{" in source else _PLACEHOLDER


def _plain_replacement(schema: str | None, match: re.Match[str]) -> str:
    """:func:`_replacement` of a placeholder that is not escaped, in half the time."""
    try:
        return _expanded(match[1], match[2], schema)
    except _RefusedError:
        return _replacement(schema, match)


def _replacement(schema: str | None, match: re.Match[str]) -> str:
    escaped = match[0][0] == "\\"
    try:
        expanded = _expanded(match[1], match[2], schema)
    except _RefusedError as error:
        if _quoted_text(match.string).span_at(match.start()):
            return match[0]
        if escaped:
            return match[0][1:]
        place = line_and_column(match.string, match.start())
        raise TemplateError(match[0], str(error), *place, invalid=error.invalid) from None
    return match[0][1:] if escaped else expanded


@lru_cache(maxsize=1)
def _quoted_text(text: str) -> QuotedText:
    """Computed once for all placeholders of a text; few texts need it."""
    return QuotedText(text)


class QuotedText:
    """The string constants, quoted identifiers, dollar quotes and comments of a text, which is read only as far as
    needed."""

    def __init__(self, text: str) -> None:
        self._tokens = quoted_tokens(text)
        self._starts, self._ends = array("q"), array("q")

    def span_at(self, offset: int) -> tuple[int, int] | None:
        """Start and end of the quoted text around ``offset``. An unterminated one extends to the end of the text."""
        while not self._starts or self._starts[-1] <= offset:
            found = next(self._tokens, None)
            if found is None:
                break
            if found.kind != "word":
                self._starts.append(found.start)
                self._ends.append(found.end)
        index = bisect_right(self._starts, offset) - 1
        return (self._starts[index], self._ends[index]) if index >= 0 and offset < self._ends[index] else None


class _RefusedError(Exception):
    """Why a placeholder cannot be expanded; ``invalid`` as in TemplateError."""

    def __init__(self, reason: str, invalid: str | None = None) -> None:
        super().__init__(reason)
        self.invalid = invalid


# The name of a table often occurs several times in a file.
@lru_cache(maxsize=4096)
def _expanded(name: str, dot: str, schema: str | None) -> str:
    if name == "schema":
        if schema is None:
            return "" if dot else "public"
        return quote(schema) + dot
    head, *names = name.split(".")
    if head != "tables" or not 1 <= len(names) <= 2:
        raise _RefusedError("there is no such placeholder. Use {{tables.name}}, {{tables.schema.name}} or {{schema}}.")
    for kind, part in zip(("schema", "table")[-len(names) :], names, strict=True):
        if not is_identifier(part):
            raise _RefusedError(
                f"Invalid {kind} name {part!r}: use letters, digits and underscores, at most 63, not "
                f"beginning with a digit.",
                invalid=kind,
            )
    if len(names) == 2:
        return f"{quote(names[0])}.{names[1]}{dot}"
    return (names[0] if schema is None else f"{quote(schema)}.{names[0]}") + dot
