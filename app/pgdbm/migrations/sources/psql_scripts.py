"""Removes from a file what psql would process itself: rows for COPY, and commands without an effect on the database.

Pure. The line breaks are kept, so that lines and columns stay those of the file.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ...pgparse.lexer import possessive, quoted_end, tokens, without_comments
from .psql_commands import WITHOUT_EFFECT

if TYPE_CHECKING:
    from collections.abc import Iterator

_COPY = re.compile(r"(?<![\w$])copy(?![\w$])", re.IGNORECASE)
_FROM_STDIN = re.compile(r"(?<![\w$])from\s+stdin(?![\w$])", re.IGNORECASE)
_END_OF_DATA = re.compile(r"^\\\.[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_CREATE_SCHEMA = re.compile(
    r'^create schema (?:(\w+)|"(' + possessive(r'(?:[^"\n]|"")+') + r')");[ \t]*\r?$', re.MULTILINE | re.IGNORECASE
)


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
    """Whether ``content`` has to be passed to :func:`read_script`. Fast."""
    return (
        "stdin" in content
        or "STDIN" in content
        or ("\\" in content and WITHOUT_EFFECT.search(content) is not None)
        or "CREATE SCHEMA" in content
        or "create schema" in content
    )


def read_script(content: str, schema: str | None) -> Script:
    """``content`` as it is to be sent to the server.

    ``CREATE SCHEMA`` of the module's own ``schema``, as pg_dump writes it, gets an IF NOT EXISTS: it exists already.
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
    ahead: dict[re.Pattern[str], re.Match[str] | None] = {}
    while True:
        for pattern in (_FROM_STDIN, WITHOUT_EFFECT, _CREATE_SCHEMA):
            known = ahead.get(pattern)
            if pattern not in ahead or (known is not None and known.start() < position):
                ahead[pattern] = pattern.search(content, position)
        found = min(filter(None, ahead.values()), key=lambda one: one.start(), default=None)
        if found is None:
            return
        start = _copy_start(content, position, found) if found.re is _FROM_STDIN else found.start()
        quoted = quoted_end(content, position, start)
        if quoted is not None:
            position = quoted
        elif found.re is WITHOUT_EFFECT:
            yield start, found.end(), "", None
            position = found.end()
        elif found.re is _CREATE_SCHEMA:
            name = found[1].lower() if found[1] is not None else found[2].replace('""', '"')
            if name == schema:
                after = start + len("create schema")
                yield after, after, " IF NOT EXISTS", None
            position = found.end()
        elif (end := _copy_end(content, position, start)) is None:
            position = start + len("copy")
        else:
            first = content.find("\n", end) + 1 or len(content)
            closing = _END_OF_DATA.search(content, first)
            stop, position = (closing.start(), closing.end()) if closing else (len(content), len(content))
            line += content.count("\n", counted, first)
            counted = first
            yield first, position, "\n" * content.count("\n", first, position), CopyData(content[first:stop], line)


def _copy_start(content: str, position: int, from_stdin: re.Match[str]) -> int:
    """The position of the word COPY in front of ``from_stdin``; the position of ``from_stdin`` without one."""
    start = max(content.rfind(word, position, from_stdin.start()) for word in ("copy", "COPY", "Copy"))
    return start if start >= 0 and _COPY.match(content, start) else from_stdin.start()


def _copy_end(content: str, position: int, start: int) -> int | None:
    """The end of the COPY … FROM stdin at ``start``, after its semicolon; None if it is another statement."""
    before = without_comments(content[position:start]).rstrip()
    if (before and not before.endswith(";")) or not _COPY.match(content, start):
        return None
    depth = 0
    words: list[str] = []
    for kind, first, last in tokens(content, start):
        text = content[first:last]
        if kind == "punctuation" and text in "()":
            depth += 1 if text == "(" else -1
        elif kind == "word" and depth == 0:
            words.append(text.lower())
        elif kind == "punctuation" and text == ";":
            return last if ("from", "stdin") in pairwise(words) else None
    return None
