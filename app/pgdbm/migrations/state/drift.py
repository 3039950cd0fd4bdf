"""Drift: the changes in a schema that no migration made, since migrations were last applied to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.connection import fetch_once, savepoint
from ...core.creation import NOT_THERE
from ...core.templating import quote
from ...sql import statement
from .catalog import read_listing
from .changes import Change, difference
from .packing import FORMATS, changed_objects
from .snapshots import TABLE, own_tables

if TYPE_CHECKING:
    from datetime import datetime

    from ...core.connection import Connection


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The changes since ``since``, when ``module`` was last applied, and earlier changes to tables that its files did
    not touch.

    ``clean``: the schema was compared, and nothing differs. ``reason``: a caveat about the comparison, or why there was
    none.
    """

    clean: bool
    since: datetime | None = None
    module: str | None = None
    changes: tuple[Change, ...] = ()
    reason: str | None = None


async def drift(connection: Connection, schema: str, history_table: str) -> DriftReport:
    """Compare ``schema`` with its snapshot. Changes nothing."""
    table = f"{quote(schema)}.{quote(TABLE)}"
    try:
        async with savepoint(connection):
            rows = await fetch_once(connection, statement("snapshots", "newest", snapshots=table))
    except NOT_THERE:
        rows = []
    if not rows:
        return DriftReport(False, reason="There is no snapshot yet. Apply takes one after it has applied something.")
    (row,) = rows
    since, module = row["taken_at"], row["module"]
    if row["format"] not in FORMATS:
        return DriftReport(
            False,
            since,
            module,
            reason="The snapshot was taken by a different version of pgdbm and cannot be compared. Take a new one.",
        )
    listing = await read_listing(connection, schema, own_tables({*row["excluded"], history_table}))
    changes = await asyncio.to_thread(
        lambda: difference(*changed_objects(row["format"], row["listing"], row["fingerprint"], listing))
    )
    reasons = []
    version: int = connection.get_server_version().major
    if changes and version != row["server_version"]:
        reasons.append(
            f"The snapshot was taken on PostgreSQL {row['server_version']} but the server is now {version}: it may "
            f"format equal definitions differently."
        )
    if changes and await _applied_since(connection, f"{quote(schema)}.{quote(history_table)}", since):
        # The run was killed between its last commit and its snapshot.
        reasons.append(
            "Migrations were applied after the snapshot was taken, so their changes are listed, too: the run that "
            "applied them took no snapshot. The next run that applies something will take one."
        )
    return DriftReport(not changes, since, module, changes, " ".join(reasons) or None)


async def _applied_since(connection: Connection, history: str, since: datetime) -> bool:
    try:
        async with savepoint(connection):
            sql = statement("snapshots", "applied_since", history=history)
            ((found,),) = await fetch_once(connection, sql, since)
            return bool(found)
    except NOT_THERE:
        return False
