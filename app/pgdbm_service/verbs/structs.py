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


class MarkBody(msgspec.Struct, forbid_unknown_fields=True):
    """``applied`` true writes the file into the history, false takes it out. No SQL of it runs."""

    filename: Filename
    applied: bool


class Marked(msgspec.Struct, kw_only=True):
    module: str
    schema: str
    filename: str
    applied: bool


class RepairBody(msgspec.Struct, forbid_unknown_fields=True):
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


class RevertBody(msgspec.Struct, forbid_unknown_fields=True):
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


class ResolveBody(msgspec.Struct, forbid_unknown_fields=True):
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
    """``version`` is the newest that is applied."""

    module: str
    schema: str
    status: Literal["ready"] = "ready"
    version: str | None
