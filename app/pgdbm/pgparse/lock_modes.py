"""The eight modes of PostgreSQL's table-level locks: their order, their conflicts, and what they block.

Pure. The conflicts are those of the documentation's chapter on explicit locking.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Blocks = Literal["reads and writes", "writes", "schema changes", "nothing", "unknown"]
"""What a lock blocks; ``unknown`` for statements, such as DO, whose effects cannot be determined."""


class LockMode(IntEnum):
    """A table-level lock mode; the numbers are the server's own, from the weakest to the strongest."""

    ACCESS_SHARE = 1
    ROW_SHARE = 2
    ROW_EXCLUSIVE = 3
    SHARE_UPDATE_EXCLUSIVE = 4
    SHARE = 5
    SHARE_ROW_EXCLUSIVE = 6
    EXCLUSIVE = 7
    ACCESS_EXCLUSIVE = 8

    @property
    def sql(self) -> str:
        """As in LOCK TABLE: ``SHARE ROW EXCLUSIVE``."""
        return self.name.replace("_", " ")

    @classmethod
    def from_pg_locks(cls, mode: str) -> LockMode:
        """The mode for a name in the view pg_locks, such as ``ShareRowExclusiveLock``."""
        return _BY_PG_LOCKS[mode]

    @property
    def conflicts(self) -> frozenset[LockMode]:
        """The modes that another session cannot get while this one is held."""
        return _CONFLICTS[self]

    @property
    def blocks(self) -> Blocks:
        """What the mode blocks in an application. Every mode also blocks ACCESS EXCLUSIVE."""
        if self is LockMode.ACCESS_EXCLUSIVE:
            return "reads and writes"
        if self >= LockMode.SHARE:
            return "writes"
        return "schema changes" if self is LockMode.SHARE_UPDATE_EXCLUSIVE else "nothing"


_BY_PG_LOCKS = {mode.name.title().replace("_", "") + "Lock": mode for mode in LockMode}
# By number: ACCESS SHARE conflicts with 8, ROW SHARE with 7 and 8, and so on.
_CONFLICTING = {
    1: "8",
    2: "78",
    3: "5678",
    4: "45678",
    5: "34678",
    6: "345678",
    7: "2345678",
    8: "12345678",
}
_CONFLICTS = {
    LockMode(mode): frozenset(LockMode(int(other)) for other in others) for mode, others in _CONFLICTING.items()
}


class StatementLock(NamedTuple):
    """A lock that a statement takes on ``relation``, "schema.table" or as the statement names it.

    None stands for relations that only the catalog shows: the table of an index, the other table of a foreign key, what
    CASCADE reaches. Such a lock is taken only if there are such relations.
    """

    mode: LockMode
    relation: str | None


def strongest(locks: Iterable[StatementLock]) -> tuple[StatementLock, ...]:
    """One lock per relation, the strongest, in the order in which the relations first occur."""
    modes: dict[str | None, LockMode] = {}
    for lock in locks:
        modes[lock.relation] = max(lock.mode, modes.get(lock.relation, lock.mode))
    return tuple(StatementLock(mode, relation) for relation, mode in modes.items())
