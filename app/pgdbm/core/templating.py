"""Placeholders in SQL: ``{{tables.x}}``, ``{{tables.s.x}}`` and ``{{schema}}``.

Pure: text in, text out. Everything outside a placeholder goes through unchanged. ``\\{{name}}`` stands for a literal
``{{name}}``, for SQL that stores templates of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from .identifiers import is_identifier, quote

# Only braces around something like a name count, so that array literals such as '{{1,2},{3,4}}' are left alone; what
# begins with "tables." is meant as ours, whatever follows.
_PLACEHOLDER = re.compile(r"(\\?)\{\{[ \t]*(tables\.[^{}\n]*?|[A-Za-z_][\w.\-]*)[ \t]*\}\}(\.?)")


class TemplateError(ValueError):
    """A placeholder that is not one of ours. ``line`` and ``column`` count from 1."""

    def __init__(self, placeholder: str, reason: str, line: int, column: int) -> None:
        super().__init__(f"{placeholder} at line {line}, column {column}: {reason}")
        self.placeholder = placeholder
        self.reason = reason
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text after rendering, and how its offsets map back.

    ``edits`` holds, in order, (start in ``text``, length in ``text``, start in the source, length in the source) of
    every placeholder, in characters.
    """

    text: str
    source: str
    edits: tuple[tuple[int, int, int, int], ...]

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
    """Render ``source`` for ``schema`` (None: unqualified), keeping the map back to the source.

    Raises TemplateError for a placeholder that does not exist or holds something that is no identifier.
    """
    if "{{" not in source:
        return Rendered(source, source, ())
    parts: list[str] = []
    edits: list[tuple[int, int, int, int]] = []
    copied_to = 0
    length = 0
    for match in _PLACEHOLDER.finditer(source):
        escaped, name, dot = match.groups()
        replacement = match.group(0)[1:] if escaped else _expand(name, dot, schema, source, match)
        parts.append(source[copied_to : match.start()])
        length += match.start() - copied_to
        edits.append((length, len(replacement), match.start(), match.end() - match.start()))
        parts.append(replacement)
        length += len(replacement)
        copied_to = match.end()
    parts.append(source[copied_to:])
    return Rendered("".join(parts), source, tuple(edits))


@lru_cache(maxsize=4096)
def render_query(source: str, schema: str | None) -> str:
    """The text of :func:`render`, remembered, so that a query that is sent again pays nothing."""
    return render(source, schema).text


def _expand(name: str, dot: str, schema: str | None, source: str, match: re.Match[str]) -> str:
    if name == "schema":
        if schema is None:
            return "" if dot else "public"
        return quote(schema) + dot
    head, *names = name.split(".")
    if head != "tables" or not 1 <= len(names) <= 2:
        raise _template_error(
            match,
            source,
            "there is no such placeholder. Use {{tables.name}}, {{tables.schema.name}} or {{schema}}; "
            "write \\{{" + name + "}} for literal braces.",
        )
    for part in names:
        if not is_identifier(part):
            raise _template_error(match, source, f"{part!r} is not a plain identifier.")
    if len(names) == 2:
        return f"{quote(names[0])}.{names[1]}{dot}"
    return (names[0] if schema is None else f"{quote(schema)}.{names[0]}") + dot


def _template_error(match: re.Match[str], source: str, reason: str) -> TemplateError:
    return TemplateError(match.group(0), reason, *line_and_column(source, match.start()))
