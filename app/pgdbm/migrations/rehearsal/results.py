"""The result of a rehearsal: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...pgparse.lock_modes import LockMode
    from ..state.catalog import CatalogObject
    from ..state.changes import Change


@dataclass(frozen=True, slots=True)
class TakenLock:
    """A lock on a table, index or the like that a statement took.

    ``relation`` is "schema.name" as it will be in the real run; None for one that was dropped before it could be read.
    ``in_other_schema``: it is not in the module's schema. ``on_new_object``: the same file created it, so that
    no other session can wait for it. ``held_ms``: from the statement to the end of its transaction.
    """

    relation: str | None
    mode: LockMode
    in_other_schema: bool
    on_new_object: bool
    held_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class PredictedLock:
    """A lock of the plan, and whether the statement took it. ``relation`` is None for relations that only the catalog
    shows.

    A lock that the transaction already held counts as confirmed; one on a relation that does not exist is not listed.
    """

    relation: str | None
    mode: LockMode
    confirmed: bool


@dataclass(frozen=True, slots=True)
class StatementRehearsal:
    """A statement that ran, or was ``skipped`` for a reason.

    ``number``, ``line`` and ``column`` count from 1, in the file as its author wrote it. ``kind`` is the SQL command.
    ``locks`` are those that the file did not already hold; None if they are unknown, because the statement ran
    outside a transaction. ``predicted``: the locks of the plan, where both are known. ``rewritten``: the tables and
    indexes that existed before and have a new file. ``wal_bytes``: what the server wrote to the WAL during it,
    including for other sessions.
    """

    number: int
    kind: str
    line: int
    column: int
    milliseconds: float
    locks: tuple[TakenLock, ...] | None
    skipped: str | None = None
    predicted: tuple[PredictedLock, ...] = ()
    rewritten: tuple[str, ...] = ()
    wal_bytes: int | None = None


@dataclass(slots=True)
class FileRehearsal:
    """A pending file. ``note``: why its transaction was not committed.

    ``catalog``: the schema after it, if requested.
    """

    filename: str
    transactional: bool
    statements: list[StatementRehearsal] = field(default_factory=list)
    milliseconds: float = 0.0
    note: str | None = None
    catalog: tuple[CatalogObject, ...] | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The server's error for a statement, with its position; ``statement`` None means the commit.

    ``replaying``: the file is in the history, so the pending files were not rehearsed.
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


@dataclass(frozen=True, slots=True)
class FixProof:
    """Whether ``files``, the fix of ``filename``, leave the same catalog as that file.

    ``differences``: from what the file builds to what the fix builds; ``reason``: why they could not be compared.
    """

    filename: str
    files: tuple[str, ...]
    differences: tuple[Change, ...] = ()
    reason: str | None = None

    @property
    def proved(self) -> bool:
        return self.reason is None and not self.differences


@dataclass(slots=True)
class Rehearsal:
    """The result of a rehearsal.

    ``replayed`` are files of the history that were run first, ``missing`` those whose content is gone, and
    ``not_reached`` pending files that were not started. ``stopped`` says why it ended early, if not for a failure. From
    the file ``kept_open_since`` on, files shared one transaction: a lock that an earlier one took is not reported
    again. ``left_behind`` is the schema if it could not be dropped; the next rehearsal tries again. ``fixes``: the
    fixes of the pending files that have one, if requested.
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
    fixes: list[FixProof] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether every pending file was executed completely."""
        return self.failure is None and self.stopped is None
