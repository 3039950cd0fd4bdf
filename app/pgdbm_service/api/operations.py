"""Requests and answers of the operations on a module: plan, drift, journal, mark, baseline, rehearse and so on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from pgdbm.migrations.results import JournalEvent

from .freezes import Reason
from .runs import RenamedMigration

Filename = Annotated[str, Meta(min_length=1, max_length=255)]
Version = Annotated[str, Meta(min_length=1, max_length=255)]
SchemaName = Annotated[str, Meta(min_length=1, max_length=63)]


class PlannedLock(msgspec.Struct):
    """``mode`` as in LOCK TABLE. ``relation`` is None if only the database knows it, as with CASCADE.

    ``rows`` is an estimate. ``reads_per_s`` counts scans, ``writes_per_s`` rows, both on average since
    ``statistics_since``. ``longest_transaction_s`` is the age of the oldest transaction that uses the table now. All
    are None if the relation is not a table yet, or could not be read.
    """

    mode: str
    relation: str | None
    rows: int | None = None
    size_bytes: int | None = None
    reads_per_s: float | None = None
    writes_per_s: float | None = None
    statistics_since: datetime | None = None
    longest_transaction_s: float | None = None


class PlannedStatement(msgspec.Struct, kw_only=True):
    """``line`` and ``column`` are positions in the file as written, ``sql`` is the statement as it is sent.

    ``blocks`` is the work of other sessions that has to wait while the locks are held.
    """

    number: int
    kind: str
    line: int
    column: int
    sql: str
    locks: list[PlannedLock]
    blocks: Literal["reads and writes", "writes", "schema changes", "nothing", "unknown"]


class FixFile(msgspec.Struct):
    """``sql`` is the content of the file, or the part of it that replaces the statement of a finding."""

    filename: str
    sql: str


class Fix(msgspec.Struct):
    """``files``, in this order, have the same result without the long lock. ``note``: what to check before using them.

    Without files, ``note`` says what to do instead.
    """

    files: list[FixFile]
    note: str | None = None


class Finding(msgspec.Struct, kw_only=True):
    """A risk in a file. ``statement`` is None if the finding concerns the whole file.

    ``fix``: what replaces the statement in the migration's own ``fix``.
    """

    rule: str
    severity: Literal["error", "warning", "info"]
    message: str
    advice: str
    statement: int | None
    line: int
    column: int
    source: Literal["pgdbm", "squawk"]
    fix: Fix | None = None


class PlannedMigration(msgspec.Struct, kw_only=True):
    """``impact``: one sentence on what the heaviest statement does to a table, and what waits for it.

    ``fix``: the files that replace this one and settle its findings; None if there are none.
    """

    filename: str
    version: str
    checksum: str
    transactional: bool
    impact: str
    statements: list[PlannedStatement]
    findings: list[Finding]
    fix: Fix | None = None


class Refusal(msgspec.Struct, kw_only=True):
    """What the limits of the module do not allow: ``limit`` names it, ``hint`` says what to do instead."""

    detail: str
    filename: str
    statement: int | None
    line: int
    column: int
    limit: Literal["max_rewrite", "max_blocked", "findings"]
    hint: str


class Plan(msgspec.Struct, kw_only=True):
    """What a migrate would do now. A migrate with this ``digest`` as its ``plan`` does exactly this, or nothing.

    ``warnings`` is present if the module has no files, or if the schema has INVALID indexes. ``renamed`` is present if
    files were applied under different names: a migrate only writes the new names to the history. ``refusal`` is present
    if a migrate would be refused because the module's limits do not allow what is pending.
    """

    module: str
    schema: str
    digest: str
    pending: list[PlannedMigration]
    skipped: int
    warnings: list[str] | UnsetType = UNSET
    renamed: list[RenamedMigration] | UnsetType = UNSET
    refusal: Refusal | UnsetType = UNSET


class Change(msgspec.Struct, kw_only=True):
    """``before`` is None for what was added, ``after`` for what was removed."""

    kind: Literal["added", "removed", "changed"]
    object_kind: str
    name: str
    before: str | None
    after: str | None


class Drift(msgspec.Struct, kw_only=True):
    """The changes of a schema since ``module``, the last one migrated in it, was migrated at ``since``.

    ``clean`` is true if the comparison was possible and found no change. ``reason``: why it was not possible, or a
    caveat.
    """

    clean: bool
    since: datetime | None
    module: str | None
    reason: str | None
    changes: list[Change]


class JournalEntry(msgspec.Struct, kw_only=True):
    """``statement`` counts from 1 within the file; None if the entry concerns the whole file."""

    id: int
    filename: str
    statement: int | None
    event: JournalEvent
    attempt: int
    sqlstate: str | None
    message: str | None
    started_at: datetime
    ended_at: datetime | None
    started_by: str


class JournalList(msgspec.Struct):
    items: list[JournalEntry]
    next: str | None = None


class InSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``schema``: one of the module's schemas; required if it has several."""

    schema: SchemaName | None = None


class MarkBody(InSchema, forbid_unknown_fields=True):
    """``applied``: whether to add the file to the history or to delete it from there. Its SQL does not run."""

    filename: Filename
    applied: bool


class Marked(msgspec.Struct, kw_only=True):
    module: str
    schema: str
    filename: str
    applied: bool


class BaselineBody(InSchema, forbid_unknown_fields=True):
    """``version``, or a file name: migrations up to this one count as applied.

    ``check``: build them in a scratch schema first, and compare it with the module's schema.
    """

    version: Version
    check: bool = True


class BaselineResult(msgspec.Struct, kw_only=True):
    """``baselined`` lists the files that count as applied now; ``checked``: whether the schema was compared."""

    module: str
    schema: str
    version: str
    checked: bool
    baselined: list[str]


class RehearseBody(InSchema, forbid_unknown_fields=True):
    """``target``: the last version, or file name, to rehearse. ``timeout_s``: the rehearsal stops after this time.

    ``fix``: also run the fixes of the files, in another scratch schema, and compare what both build.
    """

    target: Version | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    fix: bool = False


class TakenLock(msgspec.Struct, kw_only=True):
    """A lock that a statement took. ``relation`` is its name in the module's schema; None if it was dropped.

    ``outside``: it is in another schema. ``new``: the same file created it, so that no other session can wait for it.
    ``held_ms``: from the statement to the end of its transaction.
    """

    mode: str
    relation: str | None
    outside: bool
    new: bool
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


class RepairBody(InSchema, forbid_unknown_fields=True):
    """``accept``: record the current content of the files as applied.

    ``files``: the files to accept, each with its checksum, which is ``current`` in the list of changes. If other files
    have changed by then, none are accepted.
    """

    accept: bool = False
    files: dict[str, str] | None = None


class ChangedFile(msgspec.Struct, kw_only=True):
    """``recorded`` is the checksum in the history, ``current`` the file's. ``diff`` is None if the previous content is
    unknown."""

    filename: str
    recorded: str
    current: str
    diff: str | None


class ChangedFileList(msgspec.Struct):
    items: list[ChangedFile]
    next: str | None = None


class RepairResult(msgspec.Struct, kw_only=True):
    """The applied files that were modified; ``accepted``: whether this call accepted them."""

    module: str
    schema: str
    accepted: bool
    items: list[ChangedFile]


class RevertBody(InSchema, forbid_unknown_fields=True):
    """``steps``: the number of migrations to revert, newest first.

    ``break_glass``: in an emergency, the reason for reverting although the module needs approvals, is frozen, or is
    outside its windows.
    """

    steps: Annotated[int, Meta(ge=1, le=1000)] = 1
    break_glass: Reason | None = None


class RevertedMigration(msgspec.Struct):
    filename: str
    schema: str
    execution_time_ms: int


class RevertResult(msgspec.Struct, kw_only=True):
    """What was reverted, newest first."""

    module: str
    reverted: list[RevertedMigration]


class ResolveBody(InSchema, forbid_unknown_fields=True):
    """``done``: whether the statement, which counts from 1 within the file, took effect."""

    filename: Filename
    statement: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    done: bool


class Resolved(msgspec.Struct, kw_only=True):
    module: str
    schema: str
    filename: str
    statement: int
    done: bool


class ModuleReady(msgspec.Struct, kw_only=True):
    """``version`` is the newest applied version in ``schema``, the first of the schemas that were checked."""

    module: str
    schema: str
    state: Literal["ready"] = "ready"
    version: str | None
