"""The plan of a module: its statements, their locks, findings and fixes, and what refuses it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from .runs import RenamedMigration


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
