"""``-- pgdbm:ignore RULE reason``: what the author of a file has looked at, and means. Pure.

The comment speaks of the statement that follows it, or in which it stands; after a statement on the same line, of that
statement. ``-- pgdbm:ignore-file RULE reason``, anywhere, speaks of the whole file. RULE may be several, with commas.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..parser import ParsedMigration

_MARK = "pgdbm:ignore"
_COMMENT = re.compile(r"--[ \t]*pgdbm:ignore(?P<file>-file)?(?:[ \t]+(?P<rules>\S+))?(?:[ \t]+(?P<reason>\S.*?))?\s*\Z")


@dataclass
class Ignore:
    """One comment. ``statement`` is the number of the one it speaks of, None where there is none.

    ``offset`` is in characters in the rendered text; ``used`` collects the rules that it did silence.
    """

    rules: tuple[str, ...]
    reason: str
    whole_file: bool
    statement: int | None
    offset: int
    used: set[str] = field(default_factory=set)

    def covers(self, statement: int | None) -> bool:
        """Whether it speaks of ``statement``; without a reason it speaks of none."""
        return bool(self.reason) and (self.whole_file or (statement is not None and statement == self.statement))


def ignores_in(parsed: ParsedMigration) -> list[Ignore]:
    """The ignore comments of a file, in order."""
    text = parsed.rendered.text
    if _MARK not in text:
        return []
    starts = [statement.start for statement in parsed.statements]
    found = []
    for offset, comment in _comments(text):
        match = _COMMENT.match(comment)
        if match is None:
            continue
        rules = tuple(name for name in (match["rules"] or "").split(",") if name)
        index = _statement_of(offset, text, starts, parsed)
        number = parsed.statements[index].number if index is not None else None
        found.append(Ignore(rules, match["reason"] or "", match["file"] is not None, number, offset))
    return found


def _comments(text: str) -> list[tuple[int, str]]:
    """(offset, comment) of every ``--`` comment: the scanner knows what is inside of a string."""
    import postgast

    encoded = text.encode()
    try:
        tokens = postgast.scan(text).tokens
    except postgast.PgQueryError:
        return []
    return [
        (len(encoded[: token.start].decode()), encoded[token.start : token.end].decode())
        for token in tokens
        if token.token == postgast.pg_query_pb2.SQL_COMMENT
    ]


def _statement_of(offset: int, text: str, starts: list[int], parsed: ParsedMigration) -> int | None:
    index = bisect_right(starts, offset) - 1
    if index >= 0 and (offset < parsed.statements[index].end or text[text.rfind("\n", 0, offset) + 1 : offset].strip()):
        return index
    return index + 1 if index + 1 < len(starts) else None
