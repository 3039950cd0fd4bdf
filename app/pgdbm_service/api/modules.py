"""Requests and answers of the module calls."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from pgdbm.migrations.results import ModuleState as SchemaState
from pgdbm.migrations.results import OutOfOrder
from pgdbm.migrations.results import State as MigrationState

from .common import Approvals, ModuleProblem, Windows
from .runs import RenamedMigration, RunStatus, StartHold

ModuleState = SchemaState | Literal["invalid", "unregistered"]


class ModuleSummary(msgspec.Struct, kw_only=True):
    """A module and its state. With several schemas, ``schema`` is None, the numbers are totals, ``state`` is the worst
    of their states, and ``version`` the lowest of their versions.

    ``pending`` counts migrations that are out of order, too, but neither backfills in the background nor the files that
    require them: a module that has only those left is ``backfilling``.

    ``source`` is history for a module that exists only in a history table; its state is unregistered. ``problem`` says
    why a module is invalid.

    ``last_run`` is its newest run, ``last_run_status`` its status; ``active_run`` is the oldest one that has not ended,
    ``active_run_status`` its status.
    """

    name: str
    schema: str | None
    source: Literal["repo", "registered", "history"]
    state: ModuleState
    applied: int = 0
    pending: int = 0
    version: str | None = None
    last_run: str | None = None
    last_run_status: RunStatus | None = None
    active_run: UUID | None = None
    active_run_status: RunStatus | None = None
    problem: ModuleProblem | None = None


class ModuleList(msgspec.Struct):
    """``total`` is the number of modules on all pages."""

    items: list[ModuleSummary]
    next: str | None = None
    total: int | None = None


class InvalidIndex(msgspec.Struct, kw_only=True):
    """An index on ``relation`` whose build failed: queries do not use it, but writes still maintain it."""

    schema: str
    name: str
    relation: str


class Refusal(msgspec.Struct, kw_only=True):
    """A migrate that was refused before it became a run; ``problem_code`` says why."""

    at: datetime
    principal: str
    http_status: int | None
    problem_code: str
    request_id: str


class ModuleDetail(ModuleSummary, kw_only=True):
    """``changed`` counts applied files whose content has changed since, ``missing`` applied files that were removed.

    ``schemas`` are its schemas, or the pattern that they match; ``states`` counts the existing ``schema_count`` schemas
    by state. ``digest`` is the digest of the module's bundle, as in the ETag. ``start_hold``: why none of its runs
    starts now. ``approvals`` are the ones that its runs need, according to its own settings and the operator's.

    ``invalid_indexes`` are the INVALID indexes in its schemas: drop them, or rebuild them with REINDEX INDEX
    CONCURRENTLY. ``last_refusal`` is the newest migrate that was refused, if no run was created after it. ``renamed``
    is present if files are applied under different names in any of its schemas; they are counted as ``pending`` and
    ``missing``.
    """

    description: str = ""
    depends_on: tuple[str, ...] = ()
    out_of_order: OutOfOrder | None = None
    role: str | None = None
    windows: Windows | None = None
    approvals: Approvals | None = None
    start_hold: StartHold | None = None
    digest: str | None = None
    schemas: tuple[str, ...] | str = ()
    schema_count: int = 0
    states: dict[str, int] = {}
    changed: int = 0
    missing: int = 0
    invalid_indexes: list[InvalidIndex] = []
    last_refusal: Refusal | None = None
    renamed: list[RenamedMigration] | UnsetType = UNSET


class SchemaItem(msgspec.Struct, kw_only=True):
    """The state of a module in one schema, as it was at ``checked_at``; None: not checked yet."""

    schema: str
    state: SchemaState
    applied: int
    pending: int
    changed: int
    missing: int
    version: str | None
    checked_at: datetime | None
    last_run: str | None


class SchemaPage(msgspec.Struct):
    """``next`` is the cursor of the next page, None on the last. ``total`` is the number of schemas on all pages."""

    items: list[SchemaItem]
    next: str | None = None
    total: int | None = None


class Migration(msgspec.Struct, kw_only=True):
    """``checksum`` is the file's, or the recorded one if the file is missing.

    ``waits_for`` is the backfill in the background that the file requires, until that is applied.
    """

    filename: str
    version: str
    checksum: str
    state: MigrationState
    transactional: bool
    applied_at: datetime | None
    execution_time_ms: int | None
    waits_for: str | None = None


class MigrationList(msgspec.Struct):
    """``total`` is the number of migrations on all pages."""

    items: list[Migration]
    next: str | None = None
    total: int | None = None


class MigrationFile(msgspec.Struct, kw_only=True):
    """``sql`` is the file as written, ``rendered`` the text that is sent to the database."""

    module: str
    schema: str
    filename: str
    version: str
    checksum: str
    transactional: bool
    sql: str
    rendered: str


class HistoryItem(msgspec.Struct, kw_only=True):
    filename: str
    checksum: str
    schema: str
    applied_at: datetime
    applied_by: str | None
    execution_time_ms: int | None
    run_id: str | None = None


class HistoryPage(msgspec.Struct):
    """``next`` is the cursor of the next page, None on the last."""

    items: list[HistoryItem]
    next: str | None = None
