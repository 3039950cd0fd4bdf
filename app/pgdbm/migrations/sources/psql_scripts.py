"""Removes from a file what psql would process itself: rows for COPY, and commands without an effect on the database.

Pure. The line breaks are kept, so that lines and columns stay those of the file.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ...patterns import late_pattern
from ...pgparse.lexer import possessive, quoted_end, tokens, without_comments

if TYPE_CHECKING:
    from collections.abc import Iterator

_COPY = late_pattern(r"(?<![\w$])copy(?![\w$])", re.IGNORECASE)
_STDIN = late_pattern(r"stdin", re.IGNORECASE)
_END_OF_DATA = late_pattern(r"^\\\.[ \t]*\r?(?:\n|\Z)", re.MULTILINE)


class CopyData(NamedTuple):
    """The rows that follow a ``COPY … FROM stdin``, without the line ``\\.`` that ends them.

    ``line`` is that of the first row in the file, from 1.
    """

    text: str
    line: int


class Script(NamedTuple):
    """``sql`` is sent to the server; ``copies`` are the rows for its ``COPY … FROM stdin``, in order."""

    sql: str
    copies: tuple[CopyData, ...] = ()


def may_be_script(content: str) -> bool:
    """Whether ``content`` must be passed to :func:`read_script`. Fast."""
    return (
        _may_copy(content)
        or ("\\" in content and _commands().search(content) is not None)
        or "CREATE SCHEMA" in content
        or "create schema" in content
    )


def _commands() -> re.Pattern[str]:
    from .psql_commands import WITHOUT_EFFECT  # imported lazily: few files have a backslash

    return WITHOUT_EFFECT


@cache
def _create_schema() -> re.Pattern[str]:
    name = possessive(r'(?:[^"\n]|"")+')
    return re.compile(rf'^create schema (?:(\w+)|"({name})");[ \t]*\r?$', re.MULTILINE | re.IGNORECASE)


def _may_copy(content: str) -> bool:
    # A case-insensitive search is ten times slower.
    return ("copy" in content or "COPY" in content or "Copy" in content) and _STDIN.search(content) is not None


def read_script(content: str, schema: str | None) -> Script:
    """``content`` as it is to be sent to the server.

    ``CREATE SCHEMA`` for the module's own ``schema``, as pg_dump writes it, gets an IF NOT EXISTS, because the schema
    already exists.
    """
    if not may_be_script(content):
        return Script(content)
    parts: list[str] = []
    copies: list[CopyData] = []
    position = 0
    for start, end, replacement, data in _edits(content, schema):
        parts += (content[position:start], replacement)
        position = end
        if data is not None:
            copies.append(data)
    return Script("".join((*parts, content[position:])), tuple(copies)) if parts else Script(content)


def _edits(content: str, schema: str | None) -> Iterator[tuple[int, int, str, CopyData | None]]:
    """(start, end, replacement, rows) of each part to replace, in order."""
    position = counted = 0
    line = 1
    # Whether no part of a statement precedes the position.
    at_start = True
    commands, create_schema = _commands(), _create_schema()
    patterns = [commands, create_schema, *([_COPY] if _may_copy(content) else [])]
    ahead: dict[re.Pattern[str], re.Match[str] | None] = {}
    while True:
        for pattern in patterns:
            known = ahead.get(pattern)
            if pattern not in ahead or (known is not None and known.start() < position):
                ahead[pattern] = pattern.search(content, position)
        found = min(filter(None, ahead.values()), key=lambda one: one.start(), default=None)
        if found is None:
            return
        start = found.start()
        quoted = quoted_end(content, position, start)
        if quoted is not None:
            position, at_start = quoted, at_start and _is_blank(content[position:quoted])
        elif found.re is commands:
            yield start, found.end(), "", None
            position, at_start = found.end(), True
        elif found.re is create_schema:
            name = found[1].lower() if found[1] is not None else found[2].replace('""', '"')
            if name == schema:
                after = start + len("create schema")
                yield after, after, " IF NOT EXISTS", None
            position, at_start = found.end(), True
        elif not _begins(content[position:start], at_start):
            position, at_start = found.end(), False
        elif not (copy := _copy_statement(content, start)).from_stdin:
            position, at_start = copy.end, True
        else:
            first = content.find("\n", copy.end) + 1 or len(content)
            closing = _END_OF_DATA.search(content, first)
            stop, position = (closing.start(), closing.end()) if closing else (len(content), len(content))
            line += content.count("\n", counted, first)
            counted, at_start = first, True
            yield first, position, "\n" * content.count("\n", first, position), CopyData(content[first:stop], line)


def _begins(before: str, at_start: bool) -> bool:
    """Whether a statement begins after ``before``. ``at_start``: no part of a statement precedes ``before``."""
    rest = without_comments(before).rstrip()
    return rest.endswith(";") if rest else at_start


def _is_blank(text: str) -> bool:
    return not without_comments(text).strip()


class _Copy(NamedTuple):
    end: int
    from_stdin: bool


def _copy_statement(content: str, start: int) -> _Copy:
    """The end of the statement at ``start``, after its semicolon, and whether it is a COPY … FROM stdin."""
    depth = 0
    words: list[str] = []
    for kind, first, last in tokens(content, start):
        text = content[first:last]
        if kind == "punctuation" and text in "()":
            depth += 1 if text == "(" else -1
        elif kind == "word" and depth == 0:
            words.append(text.lower())
        elif kind == "punctuation" and text == ";":
            return _Copy(last, ("from", "stdin") in pairwise(words))
    return _Copy(len(content), from_stdin=False)
