"""What the run calls take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

RunStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
SchemaStatus = Literal["queued", "running", "succeeded", "failed", "cancelled", "not_reached"]
MigrateStatus = Literal["success", "up_to_date", "dry_run"]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
SchemaName = Annotated[str, Meta(min_length=1, max_length=63)]

ALL_MODULES = "*"
"""What stands for a module's name where a run is one of all modules."""

_MOST_SCHEMAS = 10_000
_LONGEST_WAIT_S = 3600.0


class MigrateAllBody(msgspec.Struct, forbid_unknown_fields=True):
    """``dry_run`` says what would be applied, and changes nothing. ``wait_s``: how long to wait for the end."""

    dry_run: bool = False
    wait_s: Annotated[float, Meta(ge=0, le=_LONGEST_WAIT_S)] | None = None


class Wishes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is to do, besides the files that it is for."""

    target: Annotated[str, Meta(min_length=1)] | None = None
    schemas: Annotated[tuple[SchemaName, ...], Meta(min_length=1, max_length=_MOST_SCHEMAS)] | None = None
    plan: Digest | None = None
    atomic: Literal["file", "all"] = "file"
    lock_timeout_ms: Annotated[int, Meta(ge=0, le=3_600_000)] | None = None
    canary: Annotated[int, Meta(ge=0, le=100)] = 0
    on_failure: Literal["stop", "continue"] = "stop"


class MigrateBody(Wishes, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``dry_run`` says what would be applied, and changes nothing.

    ``target``: nothing behind this version, or file name. ``schemas``: only these of the module's. ``bundle`` and
    ``plan``: the digests of the files, or of the plan for the same target, that were looked at; what has others is not
    applied. ``atomic``: ``all`` is one transaction for everything, in each schema. ``lock_timeout_ms``: how long a
    statement waits for locks of other work before it is tried again. ``wait_s``: how long to wait for the end.

    Of many schemas the first ``canary`` go alone, and where one of them fails no other is begun. ``on_failure``:
    whether a failure in one schema keeps those from being begun that have not been.
    """

    dry_run: bool = False
    bundle: Digest | None = None
    wait_s: Annotated[float, Meta(ge=0, le=_LONGEST_WAIT_S)] | None = None


class AppliedMigration(msgspec.Struct):
    filename: str
    schema: str
    execution_time_ms: int


class SchemaCounts(msgspec.Struct, kw_only=True):
    """How many schemas of a run are where."""

    total: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    not_reached: int = 0


class MigrateResult(msgspec.Struct, kw_only=True):
    """``skipped`` counts what was applied before, ``total`` every file. ``pending`` is filled on a dry run only.

    Of a run in many schemas, ``applied`` has the first thousand, the counts are those of all schemas together, and
    ``schemas`` says how many there were.
    """

    module: str
    status: MigrateStatus
    applied: list[AppliedMigration]
    pending: list[str]
    skipped: int
    total: int
    total_time_ms: float | None
    run_id: UUID | None = None
    schemas: SchemaCounts | UnsetType = UNSET


class MigrateAllResult(msgspec.Struct, kw_only=True):
    """One result per module, in the order in which they were migrated.

    When a module fails, the problem document has these results as ``items``, and the rest as ``not_reached``.
    """

    status: MigrateStatus
    items: list[MigrateResult]
    not_reached: list[str]
    total_time_ms: float
    run_id: UUID | None = None


class Progress(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where a run is in a schema: file ``done`` + 1 of ``pending``, statement ``statement`` of ``statements``.

    ``percent`` and ``phase`` are those of a long command, as the server reports them. ``waiting_for`` is the tree of
    who blocks it, ``holder`` another runner of the same module, ``retrying`` the reason of the last attempt's failure.
    """

    filename: str | None = None
    done: int = 0
    pending: int = 0
    statement: int | None = None
    statements: int | None = None
    command: str | None = None
    phase: str | None = None
    percent: float | None = None
    waiting_for: list[dict[str, Any]] | None = None
    holder: dict[str, Any] | None = None
    retrying: dict[str, Any] | None = None


class RunSchema(msgspec.Struct, kw_only=True):
    """A run in one schema. ``applied`` are the migrations that it applied there."""

    schema: str
    status: SchemaStatus
    attempts: int
    applied: list[AppliedMigration]
    progress: Progress | None = None
    problem: dict[str, Any] | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class RunSchemaList(msgspec.Struct):
    items: list[RunSchema]
    next: str | None = None


class RunPart(msgspec.Struct, kw_only=True):
    """One module of a run of all modules. ``run_id`` is its own run; None where nothing was pending, or not yet.

    ``result`` is there when it has succeeded.
    """

    module: str
    status: SchemaStatus
    run_id: UUID | None = None
    result: MigrateResult | None = None


class RunSummary(msgspec.Struct, kw_only=True):
    """``attempts`` counts how often a replica took it up. ``instance`` is the one that did so last.

    Of a run of all modules, ``module`` is ``*``, and there is no ``bundle``.
    """

    id: UUID
    module: str
    status: RunStatus
    caller: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    instance: UUID | None = None
    bundle: str | None = None
    retry_of: UUID | None = None
    request_id: str | None = None


class Run(RunSummary, kw_only=True):
    """``steps`` are its schemas: what fails and what is at work first, fifty at most. ``events``: how many there are.

    A run of all modules has ``modules`` instead. ``problem`` is what the call that waits for it answers.
    """

    wishes: Wishes
    cancel_requested_at: datetime | None = None
    events: int = 0
    schemas: SchemaCounts
    steps: list[RunSchema]
    modules: list[RunPart] | UnsetType = UNSET
    result: MigrateResult | None = None
    problem: dict[str, Any] | None = None


class StreamedEvent(msgspec.Struct, kw_only=True):
    """A Server-Sent Event. ``data`` is JSON. ``id`` is for ``Last-Event-ID``; an event ``closing`` has none."""

    event: str
    data: str
    id: str | UnsetType = UNSET


class RunList(msgspec.Struct):
    items: list[RunSummary]
    next: str | None = None


class RunEvent(msgspec.Struct, kw_only=True):
    """Something that happened in a run, as ``GET /runs/{id}/events`` tells it: the data, with its number and kind.

    Which fields it has, its ``kind`` says. ``schemas`` and ``applied`` count; ``statement`` counts from 1.
    """

    number: int
    kind: str
    at: datetime
    module: str | None = None
    schema: str | None = None
    schemas: int | None = None
    attempt: int | None = None
    status: SchemaStatus | None = None
    applied: int | None = None
    problem: dict[str, Any] | None = None
    filename: str | None = None
    done: int | None = None
    pending: int | None = None
    statement: int | None = None
    statements: int | None = None
    command: str | None = None
    phase: str | None = None
    percent: float | None = None
    ms: float | None = None
    sqlstate: str | None = None
    message: str | None = None
    pause_s: float | None = None
    waiting_for: list[dict[str, Any]] | None = None
    holder: dict[str, Any] | None = None
    reason: str | None = None
