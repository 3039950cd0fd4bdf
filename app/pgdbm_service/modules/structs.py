"""What the module calls take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from ..structs import ModuleProblem

ModuleState = Literal[
    "up_to_date",
    "pending",
    "failed",
    "partial",
    "unknown",
    "changed",
    "out_of_order",
    "missing",
    "ahead",
    "invalid",
    "unregistered",
]
MigrationState = Literal[
    "pending", "applied", "baseline", "changed", "missing", "ahead", "out_of_order", "failed", "partial", "unknown"
]


class ModuleSummary(msgspec.Struct, kw_only=True):
    """A module and where it stands. ``schema`` is None where it has several: the numbers are those of all together,
    ``state`` is what wants attention first, and ``version`` what the last of them has reached.

    ``pending`` counts what is out of order too.

    ``source`` is history for a module that stands in a history table only; its state is unregistered. ``problem`` says
    why a module is invalid.
    """

    name: str
    schema: str | None
    source: Literal["repo", "registered", "history"]
    state: ModuleState
    applied: int = 0
    pending: int = 0
    version: str | None = None
    last_run: str | None = None
    problem: ModuleProblem | None = None


class ModuleList(msgspec.Struct):
    items: list[ModuleSummary]
    next: str | None = None


class ModuleDetail(ModuleSummary, kw_only=True):
    """``changed`` counts applied files with another content now, ``missing`` applied files that are gone.

    ``schemas`` are its schemas, or the pattern that says which; ``states`` counts the ``schema_count`` schemas that
    there are by state. ``digest`` is that of the module's bundle, also as ETag.
    """

    description: str = ""
    depends_on: tuple[str, ...] = ()
    out_of_order: Literal["allow", "reject"] | None = None
    role: str | None = None
    digest: str | None = None
    schemas: tuple[str, ...] | str = ()
    schema_count: int = 0
    states: dict[str, int] = {}
    changed: int = 0
    missing: int = 0


class SchemaItem(msgspec.Struct, kw_only=True):
    """Where a module stands in one schema, as it was at ``checked_at``; None: nobody has looked yet."""

    schema: str
    state: ModuleState
    applied: int
    pending: int
    changed: int
    missing: int
    version: str | None
    checked_at: datetime | None
    last_run: str | None


class SchemaPage(msgspec.Struct):
    """``next`` is the cursor of the next page, None on the last."""

    items: list[SchemaItem]
    next: str | None = None


class Migration(msgspec.Struct, kw_only=True):
    """``checksum`` is the file's; for a missing file the recorded one."""

    filename: str
    version: str
    checksum: str
    state: MigrationState
    transactional: bool
    applied_at: datetime | None
    execution_time_ms: int | None


class MigrationList(msgspec.Struct):
    items: list[Migration]
    next: str | None = None


class MigrationFile(msgspec.Struct, kw_only=True):
    """``sql`` is the file as written, ``rendered`` as it is sent to the database."""

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
