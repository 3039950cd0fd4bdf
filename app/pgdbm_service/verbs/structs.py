"""What the verbs take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Outcome = Literal[
    "begun", "done", "failed", "retried", "finished", "marked", "unmarked", "reverted", "repaired", "baselined"
]
Filename = Annotated[str, Meta(min_length=1, max_length=255)]
Version = Annotated[str, Meta(min_length=1, max_length=255)]
SchemaName = Annotated[str, Meta(min_length=1, max_length=63)]


class Lock(msgspec.Struct):
    """``mode`` as in LOCK TABLE. ``relation`` is None for those that only the database knows, as with CASCADE."""

    mode: str
    relation: str | None


class PlannedStatement(msgspec.Struct, kw_only=True):
    """``line`` and ``column`` are in the file as written, ``sql`` is what is sent.

    ``blocks`` says who has to wait while the locks are held.
    """

    number: int
    kind: str
    line: int
    column: int
    sql: str
    locks: list[Lock]
    blocks: Literal["reads and writes", "writes", "schema changes", "nothing", "unknown"]


class Finding(msgspec.Struct, kw_only=True):
    """Something to say against a file. ``statement`` is None for what is about the whole of it."""

    rule: str
    severity: Literal["error", "warning", "info"]
    message: str
    advice: str
    statement: int | None
    line: int
    column: int
    source: Literal["pgdbm", "squawk"]


class PlannedMigration(msgspec.Struct, kw_only=True):
    filename: str
    version: str
    checksum: str
    transactional: bool
    statements: list[PlannedStatement]
    findings: list[Finding]


class Plan(msgspec.Struct, kw_only=True):
    """What a migrate would do now. Given to it as ``plan``, the digest makes it do this or nothing."""

    module: str
    schema: str
    digest: str
    pending: list[PlannedMigration]
    skipped: int


class Change(msgspec.Struct, kw_only=True):
    """``before`` is None for what was added, ``after`` for what was removed."""

    kind: Literal["added", "removed", "changed"]
    object_kind: str
    name: str
    before: str | None
    after: str | None


class Drift(msgspec.Struct, kw_only=True):
    """What differs from what was there ``since`` ``module`` was migrated, the last in this schema that was.

    ``clean`` is true where it was compared and nothing differs; ``reason`` says why it could not be compared, or what
    to know about the comparison.
    """

    clean: bool
    since: datetime | None
    module: str | None
    reason: str | None
    changes: list[Change]


class JournalEntry(msgspec.Struct, kw_only=True):
    """``statement`` counts from 1 within the file; None for what is about the whole of it."""

    id: int
    filename: str
    statement: int | None
    outcome: Outcome
    attempt: int
    sqlstate: str | None
    message: str | None
    began_at: datetime
    ended_at: datetime | None
    made_by: str


class JournalList(msgspec.Struct):
    items: list[JournalEntry]
    next: str | None = None


class InSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``schema``: which of the module's, where it has more than one."""

    schema: SchemaName | None = None


class MarkBody(InSchema, forbid_unknown_fields=True):
    """``applied`` true writes the file into the history, false takes it out. No SQL of it runs."""

    filename: Filename
    applied: bool


class Marked(msgspec.Struct, kw_only=True):
    module: str
    schema: str
    filename: str
    applied: bool


class BaselineBody(InSchema, forbid_unknown_fields=True):
    """``version``, or file name: up to this one, migrations count as applied.

    ``check``: build what they would build in a scratch schema first, and compare it with what is there.
    """

    version: Version
    check: bool = True


class BaselineResult(msgspec.Struct, kw_only=True):
    """``baselined`` are the files that count as applied now. ``checked`` says whether the schema was compared."""

    module: str
    schema: str
    version: str
    checked: bool
    baselined: list[str]


class RehearseBody(InSchema, forbid_unknown_fields=True):
    """``target``: nothing behind this version, or file name. ``timeout_s``: after this time the rehearsal ends."""

    target: Version | None = None
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0


class TakenLock(msgspec.Struct, kw_only=True):
    """A lock that a statement really took. ``relation`` is as in the real run; None for one that is gone.

    ``outside``: it is in another schema. ``new``: the same file made it, so that nobody else can wait for it.
    """

    mode: str
    relation: str | None
    outside: bool
    new: bool


class RehearsedStatement(msgspec.Struct, kw_only=True):
    """``locks`` are those that the file did not hold already; None where the statement ran outside a transaction.

    ``skipped`` says why it did not run.
    """

    number: int
    kind: str
    line: int
    column: int
    execution_time_ms: float
    locks: list[TakenLock] | None
    skipped: str | None


class RehearsedMigration(msgspec.Struct, kw_only=True):
    """``note`` says what became of its transaction where that was not committed."""

    filename: str
    transactional: bool
    execution_time_ms: float
    note: str | None
    statements: list[RehearsedStatement]


class RehearsalFailure(msgspec.Struct, kw_only=True):
    """What the database said about a statement; ``statement`` None means the commit.

    ``replaying``: the file is one that is applied, so that the rehearsal says nothing of what is pending.
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


class Rehearsal(msgspec.Struct, kw_only=True):
    """How the pending migrations went in a scratch schema. ``succeeded``: every one of them ran, to its end.

    Otherwise ``failure`` has the statement that failed, or ``stopped`` says why it ended early. ``replayed`` are the
    applied files that ran first, ``missing`` those whose content is gone, ``not_reached`` pending ones that were not
    begun. From ``kept_open_since`` on files shared one transaction, which was rolled back, since that file reaches
    beyond the schema. ``left_behind`` is the scratch schema, if it could not be dropped.
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


class RepairBody(InSchema, forbid_unknown_fields=True):
    """``accept`` takes what the files hold now for what was applied."""

    accept: bool = False


class ChangedFile(msgspec.Struct, kw_only=True):
    """The checksums in the history, as it was, and of the file. ``diff`` is None where the old content is unknown."""

    filename: str
    recorded: str
    current: str
    diff: str | None


class RepairResult(msgspec.Struct, kw_only=True):
    """The applied files whose content has changed; ``accepted`` says whether they were accepted by this call."""

    module: str
    schema: str
    accepted: bool
    items: list[ChangedFile]


class RevertBody(InSchema, forbid_unknown_fields=True):
    """``steps``: how many of the newest applied migrations."""

    steps: Annotated[int, Meta(ge=1, le=1000)] = 1


class RevertedMigration(msgspec.Struct):
    filename: str
    schema: str
    execution_time_ms: int


class RevertResult(msgspec.Struct, kw_only=True):
    """What was reverted, newest first."""

    module: str
    reverted: list[RevertedMigration]


class ResolveBody(InSchema, forbid_unknown_fields=True):
    """``done`` says whether the statement, which counts from 1 within the file, has done its work."""

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
    """``version`` is the newest that is applied. Of several schemas it stands for the first, ``schema``."""

    module: str
    schema: str
    status: Literal["ready"] = "ready"
    version: str | None
