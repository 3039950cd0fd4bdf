"""Requests and answers of the run calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

RunStatus = Literal["queued", "waiting_for_approval", "held", "running", "succeeded", "failed", "cancelled"]
SchemaStatus = Literal["queued", "running", "succeeded", "failed", "cancelled", "not_reached"]
MigrateStatus = Literal["success", "up_to_date", "dry_run"]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
SchemaName = Annotated[str, Meta(min_length=1, max_length=63)]

JSONObject = dict[str, Any]
"""An object whose fields depend on what it describes: a problem, or a session of the database."""

ALL_MODULES = "*"
"""The module name of a run of all modules."""

_MOST_SCHEMAS = 10_000
_LONGEST_WAIT_S = 3600.0


IfClosed = Literal["wait", "refuse"]
At = Annotated[datetime, Meta(tz=True)]


class MigrateAllBody(msgspec.Struct, forbid_unknown_fields=True):
    """``dry_run``: report what would be applied, change nothing. ``wait_s``: seconds to wait for the end.

    ``not_before`` and ``if_closed`` apply to each of the modules.
    """

    dry_run: bool = False
    not_before: At | None = None
    if_closed: IfClosed = "wait"
    wait_s: Annotated[float, Meta(ge=0, le=_LONGEST_WAIT_S)] | None = None


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a run, as they were requested."""

    target: Annotated[str, Meta(min_length=1)] | None = None
    schemas: Annotated[tuple[SchemaName, ...], Meta(min_length=1, max_length=_MOST_SCHEMAS)] | None = None
    plan: Digest | None = None
    atomic: Literal["file", "all"] = "file"
    lock_timeout_ms: Annotated[int, Meta(ge=0, le=3_600_000)] | None = None
    canary: Annotated[int, Meta(ge=0, le=100)] = 0
    on_failure: Literal["stop", "continue"] = "stop"
    background: bool = False
    not_before: At | None = None
    if_closed: IfClosed = "wait"


class MigrateBody(RunOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``dry_run``: report what would be applied, change nothing.

    ``target``: apply nothing after this version or file name. ``schemas``: only these of the module's schemas.
    ``bundle`` and ``plan``: digests of the files, and of the plan for the same target; if they have changed, nothing is
    applied. ``atomic``: ``all`` applies everything in one transaction per schema. ``lock_timeout_ms``: how long a
    statement waits for a lock before it is retried. ``wait_s``: seconds to wait for the end.

    The first ``canary`` schemas are migrated before the others; if one of them fails, the others are not started.
    ``on_failure``: whether a failure in one schema stops the schemas that have not started.

    ``background``: also run the module's backfills in the background, and the files that require them, in this run.
    Otherwise a separate run does that afterwards.

    ``with_dependencies``: first migrate the modules that this one depends on, if anything is pending in them; otherwise
    the call is refused in that case.

    The run does not start before ``not_before``. ``if_closed``: while the module is frozen, or outside its windows, the
    run waits, or the call is refused.
    """

    dry_run: bool = False
    with_dependencies: bool = False
    bundle: Digest | None = None
    wait_s: Annotated[float, Meta(ge=0, le=_LONGEST_WAIT_S)] | None = None


class StartHold(msgspec.Struct, frozen=True):
    """Why a run has not started: it was requested for a later time, or its module is frozen or outside its windows.

    ``until``: when the reason ceases to apply; None if that is not known. ``detail`` is a sentence that explains it.
    """

    reason: Literal["not_before", "window", "freeze"]
    until: datetime | None
    detail: str


class Approval(msgspec.Struct, kw_only=True):
    """Who has approved a run, and the reason, if one was given."""

    principal: str
    at: datetime
    reason: str | None = None


class BreakGlass(msgspec.Struct, kw_only=True):
    """Who let a run start without approvals although it was held, and why."""

    principal: str
    at: datetime
    reason: str


class RunApproval(msgspec.Struct, kw_only=True):
    """The approvals of a run of a module that needs them: ``required_count``: how many its plan needs, 0 if
    the plan has no warning; ``approved_by``: those that it has.

    ``plan`` is the digest of the plan that the run is bound to; with several schemas, of their plans together.
    """

    plan: str
    required_count: int
    require_reason: bool
    approved_by: list[Approval]


class AppliedMigration(msgspec.Struct):
    filename: str
    schema: str
    execution_time_ms: int


class RenamedMigration(msgspec.Struct):
    """A file that was applied under the name ``applied_as``, with the same content, and is not run again."""

    filename: str
    applied_as: str


class SchemaCounts(msgspec.Struct, kw_only=True):
    """The number of schemas of a run by status."""

    total: int = 0
    queued: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    not_reached: int = 0


class MigrateResult(msgspec.Struct, kw_only=True):
    """``skipped`` counts files applied before, ``total`` all files. ``pending`` is filled on a dry run only.

    For a run in several schemas, ``applied`` has the first thousand migrations, ``skipped`` and ``total`` are sums over
    the schemas, and ``schema_counts`` is present. ``dependencies`` is present if they were migrated, too. ``warnings``
    is present if the module has no files. ``renamed`` is present if files were applied under other names; they are
    among ``applied``, or ``pending``, too.
    """

    module: str
    status: MigrateStatus
    applied: list[AppliedMigration]
    pending: list[str]
    skipped: int
    total: int
    total_time_ms: float | None
    run_id: UUID | None = None
    schema_counts: SchemaCounts | UnsetType = UNSET
    dependencies: list[MigrateResult] | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET
    renamed: list[RenamedMigration] | UnsetType = UNSET


class MigrateAllResult(msgspec.Struct, kw_only=True):
    """One result per module, in the order in which they were migrated.

    ``not_reached`` names the registered modules that were skipped because they, or modules that they depend on, are
    invalid. ``warnings`` is present if there are no modules, or modules without files.

    If a module fails, the problem document has the results before it as ``items`` and the modules after it as
    ``not_reached``.
    """

    status: MigrateStatus
    items: list[MigrateResult]
    not_reached: list[str]
    total_time_ms: float
    run_id: UUID | None = None
    warnings: list[str] | UnsetType = UNSET


class Progress(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Progress in a schema: ``applied_count`` of ``pending_count`` files, statement ``statement`` of ``statements``.

    ``command``, ``phase`` and ``percent`` come from the server's ``pg_stat_progress_*`` views. ``waiting_for`` lists
    the sessions that block the statement, ``holder`` is another runner that holds the module's lock, ``retrying`` says
    why the last attempt failed. For a backfill, ``rows`` of about ``total_rows`` are processed, ``rows_per_s`` and
    ``seconds_left`` are estimates, and ``reason`` says why it waits.
    """

    filename: str | None = None
    applied_count: int = 0
    pending_count: int = 0
    statement: int | None = None
    statements: int | None = None
    command: str | None = None
    phase: str | None = None
    percent: float | None = None
    waiting_for: list[JSONObject] | None = None
    holder: JSONObject | None = None
    retrying: JSONObject | None = None
    rows: int | None = None
    total_rows: int | None = None
    rows_per_s: float | None = None
    seconds_left: float | None = None
    reason: str | None = None


class RunSchema(msgspec.Struct, kw_only=True):
    """A run in one schema. ``steps`` are the migrations that it applied there."""

    schema: str
    status: SchemaStatus
    attempts: int
    steps: list[AppliedMigration]
    progress: Progress | None = None
    problem: JSONObject | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class RunSchemaList(msgspec.Struct):
    """``total`` is the number of schemas on all pages."""

    items: list[RunSchema]
    next: str | None = None
    total: int | None = None


class ChildRun(msgspec.Struct, kw_only=True):
    """One module of a run of all modules. ``run_id`` is None if nothing was pending, or the child has not started.

    ``result`` is present once it has succeeded, ``problem`` if the module could not be started.
    """

    module: str
    status: SchemaStatus
    run_id: UUID | None = None
    result: MigrateResult | None = None
    problem: JSONObject | None = None


class RunSummary(msgspec.Struct, kw_only=True):
    """``attempts``: how often it was attempted, in the schema with the most attempts. ``replica`` did so last.

    ``duration_ms`` is up to its end, or up to now; None before it started. ``problem_code`` says why it failed.

    For a run of all modules, ``module`` is ``*`` and there is no ``bundle``. ``start_hold`` says why a run is held.
    """

    id: UUID
    module: str
    status: RunStatus
    created_by: str
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_ms: float | None = None
    problem_code: str | None = None
    attempts: int = 0
    replica: UUID | None = None
    bundle: str | None = None
    retry_of: UUID | None = None
    request_id: str | None = None
    start_hold: StartHold | None = None


class RunItem(RunSummary, kw_only=True):
    """A run in a list. ``detail`` is the detail of its problem. While it is in progress, ``progress`` is the progress
    of ``schema``, preferably one that waits for a lock.
    """

    detail: str | None = None
    schema_counts: SchemaCounts
    schema: str | None = None
    progress: Progress | None = None


class Run(RunSummary, kw_only=True):
    """``schemas`` has at most fifty: failed ones first, then running ones. ``events`` is the number of events.

    A run of all modules has ``modules`` instead. ``problem`` is the error document, as returned to a waiting request.
    ``approval`` is present if the module needs approvals.
    """

    options: RunOptions
    cancel_requested_at: datetime | None = None
    events: int = 0
    schema_counts: SchemaCounts
    schemas: list[RunSchema]
    modules: list[ChildRun] | UnsetType = UNSET
    result: MigrateResult | None = None
    problem: JSONObject | None = None
    approval: RunApproval | None = None
    break_glass: BreakGlass | None = None


class StreamedEvent(msgspec.Struct, kw_only=True):
    """A Server-Sent Event. ``data`` is JSON. ``id`` is the value for ``Last-Event-ID``; ``closing`` has none."""

    event: str
    data: str
    id: str | UnsetType = UNSET


class RunList(msgspec.Struct):
    """``total`` counts the runs on all pages, up to the newest 10,000. ``total_is_capped``: there are older ones."""

    items: list[RunItem]
    next: str | None = None
    total: int | None = None
    total_is_capped: bool = False


class RunEvent(msgspec.Struct, kw_only=True):
    """An event of a run, as ``GET /runs/{id}/events`` sends it: the data, with its number and kind.

    The fields depend on ``kind``. ``statement`` counts from 1.
    """

    number: int
    kind: str
    at: datetime
    module: str | None = None
    schema: str | None = None
    schema_count: int | None = None
    module_count: int | None = None
    replica: UUID | None = None
    run_id: UUID | None = None
    attempt: int | None = None
    status: SchemaStatus | None = None
    applied_count: int | None = None
    problem: JSONObject | None = None
    filename: str | None = None
    pending_count: int | None = None
    statement: int | None = None
    statements: int | None = None
    command: str | None = None
    phase: str | None = None
    percent: float | None = None
    execution_time_ms: float | None = None
    severity: str | None = None
    sqlstate: str | None = None
    message: str | None = None
    pause_s: float | None = None
    waiting_for: list[JSONObject] | None = None
    holder: JSONObject | None = None
    action: str | None = None
    blocker: JSONObject | None = None
    reason: str | None = None
    rows: int | None = None
    total_rows: int | None = None
    rows_per_s: float | None = None
    seconds_left: float | None = None
    until: datetime | None = None
    detail: str | None = None
    principal: str | None = None
    plan: str | None = None
    approval_count: int | None = None
    required_count: int | None = None
