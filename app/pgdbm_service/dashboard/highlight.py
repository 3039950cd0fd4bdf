"""SQL as HTML: numbered lines, PostgreSQL's words colored, one line marked with a caret under a column. Pure."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from markupsafe import Markup, escape
from pygments.lexers.sql import PostgresLexer
from pygments.token import Comment, Keyword, Name, Number, String

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..api.plans import Fix

# A longer text is shown without colors, because it is data rather than code.
_LONGEST_COLOURED = 200_000
_CLASSES = ((Keyword, "k"), (Name.Builtin, "k"), (String, "s"), (Number, "m"), (Comment, "c"))


def sql_lines(sql: str, *, first: int = 1, line: int | None = None, column: int | None = None) -> Markup:
    """``sql`` with line numbers from ``first``. ``line`` is marked, with a caret under ``column``, both from 1."""
    drawn = []
    for number, html in enumerate(_lines(sql), first):
        marked = " marked" if number == line else ""
        drawn.append(f'<span class="line{marked}"><span class="number">{number}</span>{html}</span>')
        if number == line and column is not None:
            space = " " * (column - 1)
            drawn.append(
                f'<span class="line marked"><span class="number"></span>{space}<span class="caret">^</span></span>'
            )
    return Markup("").join(Markup(one) for one in drawn)  # noqa: S704


def diff_lines(diff: str) -> Markup:
    """A unified diff, line by line."""
    drawn = []
    for text in diff.splitlines():
        kind = {"+": " add", "-": " del"}.get(text[:1], "") if not text.startswith(("+++", "---")) else ""
        drawn.append(f'<span class="line{kind}">{escape(text)}</span>')
    return Markup("").join(Markup(one) for one in drawn)  # noqa: S704


def object_diff(before: str | None, after: str | None) -> str:
    """The definition of an object before and after a change, line by line, with all of its lines."""
    lines = difflib.ndiff((before or "").splitlines(), (after or "").splitlines())
    return "\n".join(f"{line[0]}{line[2:]}" for line in lines if not line.startswith("?"))


def fix_diff(original: str, fix: Fix) -> str:
    """A file and the files that replace it, each below its name."""
    return object_diff(original.rstrip(), "\n".join(f"-- {file.filename}\n{file.sql.rstrip()}" for file in fix.files))


def _lines(sql: str) -> Iterator[str]:
    """The HTML of each line; a token over several lines, such as a comment, is colored in each of them."""
    if len(sql) > _LONGEST_COLOURED:
        yield from (str(escape(text)) for text in sql.split("\n"))
        return
    line: list[str] = []
    for kind, text in PostgresLexer(stripnl=False, ensurenl=False).get_tokens(sql):
        name = next((name for token, name in _CLASSES if kind in token), None)
        for number, part in enumerate(text.split("\n")):
            if number:
                yield "".join(line)
                line = []
            if part:
                html = str(escape(part))
                line.append(f'<span class="{name}">{html}</span>' if name else html)
    yield "".join(line)
