"""``-- pgdbm:ignore RULE reason``: findings that the author of a file accepts. Pure.

The comment applies to the next statement, or to the one that contains it; after a statement on the same line, to that
one. ``-- pgdbm:ignore-file RULE reason``, anywhere, applies to the whole file. Several rules are separated by commas.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...pgparse.parse import line_comments

if TYPE_CHECKING:
    from ..sources.parser import ParsedMigration

_MARK = "pgdbm:ignore"
_COMMENT = re.compile(r"--[ \t]*pgdbm:ignore(?P<file>-file)?(?:[ \t]+(?P<rules>\S+))?(?:[ \t]+(?P<reason>\S.*?))?\s*\Z")


@dataclass
class Ignore:
    """One comment. ``statement`` is the number of the statement, None without one.

    ``offset`` is in characters in the rendered text; ``used`` collects the rules that it ignored.
    """

    rules: tuple[str, ...]
    reason: str
    whole_file: bool
    statement: int | None
    offset: int
    used: set[str] = field(default_factory=set)

    def covers(self, statement: int | None) -> bool:
        """Whether it applies to ``statement``. Without a reason it applies to no statement."""
        return bool(self.reason) and (self.whole_file or (statement is not None and statement == self.statement))


def ignores_in(parsed: ParsedMigration) -> list[Ignore]:
    """The ignore comments of a file, in order."""
    text = parsed.rendered.text
    if _MARK not in text:
        return []
    starts = [statement.start for statement in parsed.statements]
    found = []
    for offset, comment in line_comments(text):
        match = _COMMENT.match(comment)
        if match is None:
            continue
        rules = tuple(name for name in (match["rules"] or "").split(",") if name)
        index = _statement_of(offset, text, starts, parsed)
        number = parsed.statements[index].number if index is not None else None
        found.append(Ignore(rules, match["reason"] or "", match["file"] is not None, number, offset))
    return found


def _statement_of(offset: int, text: str, starts: list[int], parsed: ParsedMigration) -> int | None:
    index = bisect_right(starts, offset) - 1
    if index >= 0 and (offset < parsed.statements[index].end or text[text.rfind("\n", 0, offset) + 1 : offset].strip()):
        return index
    return index + 1 if index + 1 < len(starts) else None
