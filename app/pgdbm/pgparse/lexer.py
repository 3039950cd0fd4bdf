"""Finds the comments, strings and words of SQL text without parsing it, in time linear in its length. Pure.

The rules are those of PostgreSQL's scanner with ``standard_conforming_strings`` on.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ..patterns import late_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator


class Token(NamedTuple):
    """``start`` and ``end`` count characters.

    ``kind`` is ``comment`` (block comments that touch are one), ``string`` (dollar-quoted ones included),
    ``identifier`` (if quoted), ``word``, ``number``, ``operator``, ``punctuation``, or ``open`` for a comment, string
    or quoted identifier that does not end.
    """

    kind: str
    start: int
    end: int


def possessive(repeated: str) -> str:
    """The pattern of a repeated group, without backtracking into it.

    Before Python 3.11.5, possessive repetition of a group that backtracks does not match what it should. An atomic
    group matches correctly, but keeps each repetition in memory until its end.
    """
    return f"{repeated}+" if sys.version_info >= (3, 11, 5) else f"(?>{repeated})"


_FIRST = r"A-Za-z_\u0080-\U0010ffff"
_OPERATOR = r"-+*/<>=~!@#%^&|`?"
# The next part of a string follows directly (a doubled quote), or after white space with a line break.
_CONTINUED = r"(?:[ \t\f\v]*+[\n\r]\s*+)?"
_FLAT = possessive(r"(?:[^*/]++|\*(?!/)|/(?!\*))*")
_COMMENTS = possessive(rf"(?:/\*{_FLAT}\*/)+")
STRING = possessive("(?:'[^']*+')+")
"""A string constant without escapes; a doubled quote continues it."""
_ESCAPED = possessive(r"(?:[^'\\]++|\\.)*")
_FURTHER_PARTS = possessive(rf"(?:{_CONTINUED}'{_ESCAPED}')*")
_OPERATORS = possessive(rf"(?:(?!--|/\*)[{_OPERATOR}])+")
_QUOTED = rf"""
    (?P<comment>--[^\n\r]*+ | {_COMMENTS})
  | (?P<block>/\*)
  | (?P<string>{STRING}
      | (?<![0-9{_FIRST}])[eE]'{_ESCAPED}'{_FURTHER_PARTS})
  | (?P<identifier>"[^"]*+")
  | (?P<dollar>\$(?:[{_FIRST}][0-9{_FIRST}]*+)?\$)
  | (?P<open>(?<![0-9{_FIRST}])[eE]'|'|")
"""
_TOKENS = rf"""
    {_QUOTED}
  | (?P<word>[{_FIRST}][0-9${_FIRST}]*+)
  | (?P<number>[0-9][0-9.{_FIRST}]*+)
  | (?P<operator>{_OPERATORS})
  | (?P<punctuation>[(),;\[\]:.\\$])
"""
# Words matter only because a dollar in them does not start a string.
_QUOTED_TOKENS = rf"{_QUOTED} | (?P<word>(?<![0-9${_FIRST}])[{_FIRST}][0-9{_FIRST}]*+\$[0-9${_FIRST}]*+)"
_LONGEST_KEYWORD = len("procedure")
_COMMENT_BOUNDARY = late_pattern(r"/\*|\*/")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compiled on first use: it takes as long as many imports, and most programs do not need it."""
    return re.compile(pattern, re.VERBOSE | re.DOTALL)


def tokens(sql: str, start: int = 0) -> Iterator[Token]:
    """The tokens of ``sql`` from ``start``, which must be outside comments and strings. White space is omitted."""
    return _scan(_compiled(_TOKENS), sql, start)


def quoted_tokens(sql: str, start: int = 0) -> Iterator[Token]:
    """The comments, strings and quoted identifiers of ``sql`` from ``start``, and words with a dollar in them.

    Faster than :func:`tokens`.
    """
    return _scan(_compiled(_QUOTED_TOKENS), sql, start)


def quoted_end(sql: str, start: int, offset: int) -> int | None:
    """Where the comment, string or quoted identifier around ``offset`` ends; None outside them.

    ``start`` must be outside. Reads no more of ``sql`` than necessary.
    """
    for kind, first, end in _scan(_compiled(_QUOTED_TOKENS), sql, start, offset):
        if kind == "open":
            return next(quoted_tokens(sql, first)).end
        if end > offset:
            return end
        if end == offset and sql.startswith("--", first) and sql[offset : offset + 1] not in ("\n", "\r"):
            return next(quoted_tokens(sql, first)).end
    return None


def comments(sql: str) -> Iterator[Token]:
    """The comments in ``sql``."""
    if "--" not in sql and "/*" not in sql:
        return iter(())
    return (token for token in quoted_tokens(sql) if token.kind == "comment")


def _scan(pattern: re.Pattern[str], sql: str, position: int, stop: int = sys.maxsize) -> Iterator[Token]:
    while (found := pattern.search(sql, position, stop)) is not None:
        kind, start, position = found.lastgroup or "", *found.span()
        if kind == "block":
            end = _block_comment_end(sql, start)
            kind, position = ("open", len(sql)) if end is None else ("comment", end)
        elif kind == "dollar":
            closing = sql.find(found[0], position)
            kind, position = ("open", len(sql)) if closing < 0 else ("string", closing + len(found[0]))
        elif kind == "open":
            position = len(sql)
        yield Token(kind, start, position)


def _block_comment_end(sql: str, start: int) -> int | None:
    depth = 0
    for found in _COMMENT_BOUNDARY.finditer(sql, start):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return None


def statement_spans(sql: str) -> Iterator[tuple[int, int]]:
    """Start and end of each statement in ``sql``, found by the semicolons outside brackets and outside BEGIN ATOMIC …
    END.

    BEGIN ATOMIC counts only in CREATE FUNCTION and CREATE PROCEDURE: elsewhere both words may be names.
    """
    start = end = None
    brackets = atomic = 0
    before = ""
    head: list[str] = []
    for kind, first, last in tokens(sql):
        if kind == "comment":
            continue
        text = sql[first:last].lower() if last - first <= _LONGEST_KEYWORD else ""
        if text == ";" and not brackets and not atomic:
            if start is not None and end is not None:
                yield start, end
            start, before = None, ""
            head.clear()
            continue
        start, end = first if start is None else start, last
        if len(head) < _LONGEST_HEAD:
            head.append(text)
        if text in ("(", ")"):
            brackets = max(brackets + (1 if text == "(" else -1), 0)
        elif kind == "word" and before not in (".", "as"):
            if (atomic and text == "case") or (
                before == "begin" and text == "atomic" and not brackets and _creates_routine(head)
            ):
                atomic += 1
            elif atomic and text == "end":
                atomic -= 1
        before = text
    if start is not None and end is not None:
        yield start, end


_LONGEST_HEAD = len(("create", "or", "replace", "function"))


def _creates_routine(head: list[str]) -> bool:
    after = 3 if head[1:3] == ["or", "replace"] else 1
    return head[:1] == ["create"] and head[after : after + 1] in (["function"], ["procedure"])


def without_comments(sql: str) -> str:
    """``sql`` with spaces in place of its comments: one for each byte, so that offsets in bytes stay valid."""
    parts: list[str] = []
    end = 0
    for token in comments(sql):
        text = sql[token.start : token.end]
        parts += (sql[end : token.start], " " * (len(text) if text.isascii() else len(text.encode())))
        end = token.end
    return "".join((*parts, sql[end:])) if parts else sql
