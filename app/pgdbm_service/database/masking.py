"""Queries without the values in them, as activity, runs and problems show them."""

from __future__ import annotations

import re

# The order matters: a quote in a comment or in a quoted name starts no literal, and a literal contains no comment. The
# server truncates long queries: a token without an end extends to the end of the text.
_TOKEN = re.compile(
    r"""
      (?P<line>--[^\n]*)
    | (?P<block>/\*)
    | (?P<name>"(?:[^"]|"")*(?:"|\Z))
    | (?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\\?\Z))
    | (?P<plain>(?:\b[bBxXnN]|\b[uU]&)?'(?:[^']|'')*(?:'|\Z))
    | (?P<dollar>(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$)
    | (?P<parameter>\$\d+)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>(?:\d[\w.]*|\.\d[\w.]*))
    """,
    re.VERBOSE | re.DOTALL,
)
_MASK = "?"


def masked(query: str | None) -> str | None:
    """``query`` with ``?`` for every string and number, and without comments."""
    if query is None:
        return None
    parts: list[str] = []
    position = 0
    while found := _TOKEN.search(query, position):
        parts.append(query[position : found.start()])
        position = found.end()
        text = found[0]
        match found.lastgroup if found.lastgroup != "tag" else "dollar":
            case "name" | "word" | "parameter":
                parts.append(text)
            case "line":
                pass
            case "block":
                position = _end_of_comment(query, position)
                parts.append(" ")
            case "dollar":
                end = query.find(text, position)
                position = len(query) if end < 0 else end + len(text)
                parts.append(_MASK)
            case "plain" if "\\'" in text:
                # Its end depends on that session's standard_conforming_strings, which is not known here.
                return "".join([*parts, _MASK])
            case _:
                parts.append(_MASK)
    return "".join([*parts, query[position:]]).strip()


def _end_of_comment(query: str, position: int) -> int:
    depth = 1
    for edge in re.compile(r"/\*|\*/").finditer(query, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(query)
