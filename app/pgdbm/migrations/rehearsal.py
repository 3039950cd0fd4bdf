"""What a rehearsal answers with: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .catalog import CatalogObject
    from .inspection.lockmodes import LockMode


@dataclass(frozen=True, slots=True)
class TakenLock:
    """A lock on a table, index or the like that a statement really took.

    ``relation`` is "schema.name" as it will be in the real run; None for one that is gone and was never seen.
    ``outside``: it is in another schema than the module's. ``is_new``: the same file made it, so that nobody else can
    wait for it.
    """

    relation: str | None
    mode: LockMode
    outside: bool
    is_new: bool


@dataclass(frozen=True, slots=True)
class StatementRehearsal:
    """A statement that ran, or was ``skipped`` for a reason.

    ``number``, ``line`` and ``column`` count from 1, in the file as its author wrote it. ``kind`` is in words of SQL.
    ``locks`` are those that the file did not hold already; None where they cannot be seen, since the statement ran
    outside a transaction.
    """

    number: int
    kind: str
    line: int
    column: int
    milliseconds: float
    locks: tuple[TakenLock, ...] | None
    skipped: str | None = None


@dataclass(slots=True)
class FileRehearsal:
    """A pending file. ``note`` says what became of its transaction where that was not committed."""

    filename: str
    transactional: bool
    statements: list[StatementRehearsal] = field(default_factory=list)
    milliseconds: float = 0.0
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """What the server said about a statement, and where it is; ``statement`` None means the commit.

    ``replaying``: the file is one that the history has, so that the rehearsal says nothing of what is pending.
    """

    filename: str
    statement: int | None
    line: int | None
    column: int | None
    sqlstate: str | None
    message: str
    detail: str | None
    hint: str | None
    replaying: bool


@dataclass(slots=True)
class Rehearsal:
    """How a rehearsal went.

    ``replayed`` are files of the history that were run first, ``missing`` those whose content is gone, and
    ``not_reached`` pending files that were not begun. ``stopped`` says why it ended early, if not for a failure.
    From ``kept_open_since`` on (a file name) files shared one transaction: a lock that an earlier one of them took is
    not seen again. ``left_behind`` is the schema if it could not be dropped; the next rehearsal tries again.
    """

    schema: str
    missing: tuple[str, ...] = ()
    not_reached: tuple[str, ...] = ()
    replayed: list[str] = field(default_factory=list)
    files: list[FileRehearsal] = field(default_factory=list)
    failure: Failure | None = None
    stopped: str | None = None
    kept_open_since: str | None = None
    left_behind: str | None = None
    milliseconds: float = 0.0
    catalog: tuple[CatalogObject, ...] | None = None

    @property
    def succeeded(self) -> bool:
        """Whether every pending file ran, to its end."""
        return self.failure is None and self.stopped is None
