"""Finds text that would overflow the parser's stack, or keep it busy for minutes. Pure.

libpg_query writes a tree out recursively: a chain of operators, joins or set operations nests one level per link. When
the thread's stack is exhausted, the process dies. PostgreSQL itself stops at about 10,000 links with its default
``max_stack_depth``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ..patterns import late_pattern
from .lexer import STRING, Token, possessive, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_CHAIN = 20_000
"""Links of a chain in one statement, counted across all open brackets."""

STACK_BYTES = 128 * 1024 * 1024
"""Virtual memory of the thread that parses. A link takes about 400 bytes."""

SAFE_CHARACTERS = 8 * 1024
"""A text of this length cannot overflow an ordinary stack. A link takes at least two characters."""

SHORT_CHARACTERS = 16 * 1024
"""A text of this length cannot keep the parser busy for more than a tenth of a second."""

_MAX_COMMENT_DEPTH = 1000
_MAX_OPERATOR = 1000
_OPERATOR_RUN = late_pattern(rf"(?<![-+*/<>=~!@#%^&|`?])[-+*/<>=~!@#%^&|`?]{{{_MAX_OPERATOR}}}")
_COMMENT_BOUNDARY = late_pattern(r"/\*|\*/")
_LINK_CHARACTERS = "+-*/<>=~!@#%^&|`?:"
_OPERATOR_WORDS = frozenset(
    ("at", "between", "collate", "ilike", "in", "is", "isnull", "like", "notnull", "operator", "overlaps", "similar")
)
_QUERY_WORDS = frozenset(("except", "intersect", "join", "union"))
# They separate expressions, and end a chain of operators. All of these words are reserved: none of them can be a
# column, except after a dot.
_SEPARATING_WORDS = frozenset(("and", "else", "from", "having", "on", "or", "then", "when", "where", *_QUERY_WORDS))
_LINK_WORD = late_pattern(rf"\b(?:{'|'.join(sorted(_OPERATOR_WORDS | _QUERY_WORDS))})\b", re.IGNORECASE)
_LONGEST_WORD = 9
# A row of values or the like, which most of a data file consists of.
_ROW = late_pattern(r"\(" + possessive(rf"(?:[^()'\"$\\;/-]++|(?<![eE]){STRING}|\(\)|-(?!-)|/(?!\*))*") + r"\)")
_LONGEST_ROW = 10_000


class Breach(NamedTuple):
    """The reason why a text must not be parsed. ``offset`` counts characters."""

    offset: int
    message: str


class Chain(NamedTuple):
    """The longest chain in a text. ``offset`` is in its last link, in characters."""

    links: int
    offset: int


def breach_of(sql: str) -> Breach | None:
    """The first thing in ``sql`` that would keep the scanner busy; None where there is none."""
    nested = _deep_comment(sql)
    if nested is not None:
        return Breach(nested, f"comments are nested more than {_MAX_COMMENT_DEPTH:,} deep")
    if has_operator_run(sql):
        for token in tokens(sql):
            if token.kind == "operator" and token.end - token.start >= _MAX_OPERATOR:
                return Breach(token.start, f"an operator has more than {_MAX_OPERATOR:,} characters")
            if token.kind == "open" and sql.startswith("/*", token.start):
                return Breach(token.start, "unterminated /* comment")
    return None


def has_operator_run(sql: str) -> bool:
    """Whether ``sql`` has so many consecutive operator characters that the scanner's time, which is quadratic in their
    number, matters. Adjacent block comments, ``/**//**/``, are such a run."""
    return len(sql) > SHORT_CHARACTERS and _OPERATOR_RUN.search(sql) is not None


def _deep_comment(sql: str) -> int | None:
    """The offset at which comments are nested deeper than _MAX_COMMENT_DEPTH. Text in a string that resembles a comment
    counts, too. The scanner's time is quadratic in the depth.
    """
    if sql.count("/*") <= _MAX_COMMENT_DEPTH:
        return None
    depth = 0
    for found in _COMMENT_BOUNDARY.finditer(sql):
        depth = depth + 1 if found[0] == "/*" else max(depth - 1, 0)
        if depth > _MAX_COMMENT_DEPTH:
            return found.start()
    return None


def longest_chain(sql: str) -> Chain:
    """The longest chain in ``sql``; an empty one if the text is short or has few links in total."""
    if len(sql) <= SHORT_CHARACTERS or _links_in(sql) <= MAX_CHAIN:
        return Chain(0, 0)
    return count_chain(sql)


def _links_in(sql: str) -> int:
    """An upper bound for the links in ``sql``, including those in strings and comments; takes almost no time."""
    links = sum(map(sql.count, _LINK_CHARACTERS))
    return links if links > MAX_CHAIN else links + sum(1 for _ in _LINK_WORD.finditer(sql))


def count_chain(sql: str) -> Chain:
    """The longest chain in ``sql``, token by token. Stops once it has more than MAX_CHAIN links."""
    longest = Chain(0, 0)
    outer: list[tuple[int, int]] = []
    below = operators = queries = 0
    follows_dot = False
    for kind, start, end in _tokens_outside_rows(sql):
        if kind == "comment":
            continue
        was_dot, follows_dot = follows_dot, kind == "punctuation" and sql[start] == "."
        if kind == "punctuation":
            match sql[start]:
                case "(" | "[":
                    outer.append((operators, queries))
                    below += operators + queries
                    operators = queries = 0
                case ")" | "]":
                    operators, queries = outer.pop() if outer else (0, 0)
                    below -= operators + queries
                case ";":
                    outer.clear()
                    below = operators = queries = 0
                case ",":
                    operators = 0
                case ":":
                    operators += 1
        elif kind == "operator":
            # Several characters may be one operator, or one operator each.
            operators += end - start
        elif kind == "word" and end - start <= _LONGEST_WORD and not was_dot:
            word = sql[start:end].lower()
            if word in _OPERATOR_WORDS:
                operators += 1
            elif word in _SEPARATING_WORDS:
                operators = 0
                queries += word in _QUERY_WORDS
        links = below + operators + queries
        if links > longest.links:
            longest = Chain(links, start)
            if links > MAX_CHAIN:
                break
    return longest


def _tokens_outside_rows(sql: str) -> Iterator[Token]:
    position = 0
    while True:
        for token in tokens(sql, position):
            if token.kind == "punctuation" and sql[token.start] == "(":
                row = _ROW.match(sql, token.start)
                if row is not None and row.end() - row.start() <= _LONGEST_ROW:
                    position = row.end()
                    break
            yield token
        else:
            return
