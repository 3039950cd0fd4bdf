"""The request and the answer of a rehearsal."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .operations import Change, InSchema, Version


class RehearseBody(InSchema, forbid_unknown_fields=True):
    """``target``: the last version, or file name, to rehearse. ``timeout_s``: the rehearsal stops after this time.

    ``fix``: also run the fixes of the files, in another scratch schema, and compare what both build.
    """

    target: Version | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    fix: bool = False


class TakenLock(msgspec.Struct, kw_only=True):
    """A lock that a statement took. ``relation`` is its name in the module's schema; None if it was dropped.

    ``on_new_object``: the same file created the object, so that no other session can wait for it.
    ``held_ms``: from the statement to the end of its transaction.
    """

    mode: str
    relation: str | None
    in_other_schema: bool
    on_new_object: bool
    held_ms: float


class PredictedLock(msgspec.Struct, kw_only=True):
    """A lock of the plan, and whether the statement took it.

    ``relation`` is None for relations that only the catalog shows.
    """

    mode: str
    relation: str | None
    verdict: Literal["confirmed", "mismatch"]


class RehearsedStatement(msgspec.Struct, kw_only=True):
    """``locks`` are those that the file did not hold before; None if the statement ran outside a transaction.

    ``skipped`` is the reason why it did not run. ``predicted``: the locks of the plan, each compared with
    what the statement took. ``rewritten``: tables and indexes that have a new file. ``wal_bytes``: what the server
    wrote to the WAL during it, including for other sessions.
    """

    number: int
    kind: str
    line: int
    column: int
    execution_time_ms: float
    locks: list[TakenLock] | None
    skipped: str | None
    predicted: list[PredictedLock]
    rewritten: list[str]
    wal_bytes: int | None


class RehearsedMigration(msgspec.Struct, kw_only=True):
    """``note`` states what happened to its transaction if it was not committed."""

    filename: str
    transactional: bool
    execution_time_ms: float
    note: str | None
    statements: list[RehearsedStatement]


class RehearsalFailure(msgspec.Struct, kw_only=True):
    """The database's error for a statement; ``statement`` is None for the commit.

    ``replaying``: the file is already applied, so the failure concerns none of the pending ones.
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


class FixProof(msgspec.Struct, kw_only=True):
    """Whether ``files``, the fix of ``filename``, build the same: ``proved`` if the catalogs are equal.

    ``differences``: from what the file builds to what the fix builds. ``reason``: why they could not be compared.
    """

    filename: str
    files: list[str]
    proved: bool
    differences: list[Change]
    reason: str | None


class Rehearsal(msgspec.Struct, kw_only=True):
    """The result of the pending migrations in a scratch schema. ``succeeded``: all of them ran without an error.

    Otherwise ``failure`` is the statement that failed, or ``stopped`` the reason why it ended early. ``replayed`` lists
    the applied files that ran first, ``missing`` those whose content is unknown, ``not_reached`` the pending ones that
    did not start. From ``kept_open_since`` on, files shared one transaction that was rolled back, because that file
    has effects outside the schema. ``left_behind`` is the scratch schema, if it could not be dropped. ``fixes`` is
    present if requested.
    """

    module: str
    schema: str
    succeeded: bool
    replayed: list[str]
    missing: list[str]
    migrations: list[RehearsedMigration]
    not_reached: list[str]
    failure: RehearsalFailure | None
    stopped: str | None
    kept_open_since: str | None
    left_behind: str | None
    total_time_ms: float
    fixes: list[FixProof] | UnsetType = UNSET
