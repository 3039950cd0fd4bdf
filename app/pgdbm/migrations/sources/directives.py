"""The lines ``-- pgdbm:NAME …`` of a file that define how it runs. Pure.

They take effect only above the first statement, each on a line of its own. Text that looks like one in a string, a
function body or a block comment has no effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...patterns import late_pattern
from ...pgparse.lexer import comments, possessive

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_TRANSACTION, BACKFILL, VERIFY, REQUIRES = "no-transaction", "backfill", "verify", "requires"
_TEXT = "-- pgdbm:"
_DIRECTIVE = late_pattern(rf"-- pgdbm:({'|'.join((NO_TRANSACTION, BACKFILL, VERIFY, REQUIRES))})(?=\s|\Z)([^\n]*)")
_BLOCK_COMMENT = r"/\*" + possessive(r"(?:[^*]++|\*(?!/))*") + r"\*/"
_HEAD = late_pattern(rf"\s++|(?P<line>--[^\n]*+)|{_BLOCK_COMMENT}")


class Directive(NamedTuple):
    """``text`` is the rest of the line, stripped; ``start`` is where the line begins in the file, in characters."""

    name: str
    text: str
    start: int


def may_have_directives(content: str) -> bool:
    """Whether ``content`` contains the text that directives begin with: most files do not."""
    return _TEXT in content


def directives(content: str) -> tuple[Directive, ...]:
    """The directives above the first statement of ``content``, in order."""
    return tuple(_in_head(content)) if may_have_directives(content) else ()


def _in_head(content: str) -> Iterator[Directive]:
    position = 0
    while (found := _HEAD.match(content, position)) is not None:
        position = found.end()
        if found["line"] is not None and (one := _directive_at(content, found.start())) is not None:
            yield one


def misplaced(content: str) -> Directive | None:
    """The first directive below the first statement, where only ``verify`` has an effect."""
    if _TEXT not in content:
        return None
    head = {one.start for one in _in_head(content)}
    for _, start, _ in comments(content):
        one = _directive_at(content, start)
        if one is not None and one.name != VERIFY and start not in head:
            return one
    return None


def verify_lines(content: str) -> list[int]:
    """Where ``content`` has lines ``-- pgdbm:verify``, in characters."""
    if _TEXT not in content:
        return []
    found = (_directive_at(content, start) for _, start, _ in comments(content))
    return [one.start for one in found if one is not None and one.name == VERIFY]


def _directive_at(content: str, start: int) -> Directive | None:
    if content[start - 1 : start] not in ("", "\n"):
        return None
    found = _DIRECTIVE.match(content, start)
    return None if found is None else Directive(found[1], found[2].strip(), start)
