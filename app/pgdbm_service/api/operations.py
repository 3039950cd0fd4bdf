"""Requests and answers of the operations on a module: drift, journal, mark, baseline, repair, revert and so on."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pgdbm.migrations.results import JournalEvent

from .freezes import Reason

Filename = Annotated[str, Meta(min_length=1, max_length=255)]
Version = Annotated[str, Meta(min_length=1, max_length=255)]
SchemaName = Annotated[str, Meta(min_length=1, max_length=63)]


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
