"""Groups of consecutive statements of one file that are sent in one message. Pure.

The duration of a message is limited, so that the events of a run still show the progress within a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...pgparse.traits import ROW_CHANGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement

_WORTH_JOINING = 16
_MOST_STATEMENTS = 2048
_MOST_CHARACTERS = 256 * 1024
_AIM_S = 0.2


def is_joined(statement: Statement) -> bool:
    """Whether ``statement`` may share a message: it changes rows, and does not affect the parsing of later ones."""
    return statement.traits.kind in ROW_CHANGES


def is_worth_joining(migration: ParsedMigration) -> bool:
    """Whether ``migration`` has consecutive statements that would be slow if each were sent in a message of its own."""
    joined = 0
    for statement in migration.statements:
        joined = joined + 1 if is_joined(statement) else 0
        if joined == _WORTH_JOINING:
            return True
    return False


class Pace:
    """How many statements the next message has: more while messages are fast, fewer after a slow one."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def group(self, statements: Sequence[Statement], first: int) -> Sequence[Statement]:
        """The next statements, from index ``first``: at least one."""
        candidates = statements[first : first + self.size]
        longest = candidates[0].start + _MOST_CHARACTERS
        for count, one in enumerate(candidates):
            if not is_joined(one) or one.end > longest:
                return candidates[: max(count, 1)]
        return candidates

    def took(self, count: int, seconds: float) -> None:
        """Adapt to a message of ``count`` statements that took ``seconds``."""
        if seconds > _AIM_S:
            self.size = max(int(count * _AIM_S / seconds), 1)
        elif seconds < _AIM_S / 2 and count == self.size:
            self.size = min((4 if seconds < _AIM_S / 8 else 2) * self.size, _MOST_STATEMENTS)
