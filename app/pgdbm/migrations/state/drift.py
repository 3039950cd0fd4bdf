"""Drift: the changes in a schema since migrations were last applied to it, other than by them.

A snapshot belongs to the schema: modules that share a schema share its objects. Its table, beside the history, has one
row: the newest snapshot wins.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.connection import savepoint
from ...core.creation import NOT_THERE, create_if_missing
from ...core.templating import quote
from ...sql import statement
from . import journal
from .catalog import FORMAT, CatalogObject, Change, deserialize, difference, fingerprint_of, read_catalog, serialize
from .history import require_own_table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from asyncpg import Record

    from ...core.connection import Connection

TABLE = "pgdbm_snapshots"
BACKFILLS = "pgdbm_backfills"

# A higher level takes several times as long and saves a fifth.
_COMPRESSION = 1


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The changes since the time ``since``, when ``module`` was the last module to be applied.

    ``clean``: the schema was compared, and nothing differs. ``reason`` qualifies the comparison, or says why there was
    none.
    """

    clean: bool
    since: datetime | None = None
    module: str | None = None
    changes: tuple[Change, ...] = ()
    reason: str | None = None


async def create(connection: Connection, schema: str) -> None:
    """Create the table of snapshots unless it exists. Safe against concurrent sessions."""
    table = f"{quote(schema)}.{quote(TABLE)}"
    await create_if_missing(connection, statement("snapshots", "create", snapshots=table), durable=False)


async def save(connection: Connection, schema: str, module: str, history_table: str, role: str | None = None) -> str:
    """Store a snapshot of ``schema``, as ``module`` has left it. Returns its fingerprint.

    To be called after an apply that changed something, preferably after its transaction. Creates its table unless it
    exists. Takes no lock that other sessions wait for. Writes nothing to a table that belongs to ``role``.
    """
    table = f"{quote(schema)}.{quote(TABLE)}"
    await require_own_table(connection, table, role)
    before = await _previous(connection, schema, table)
    # The history tables of other modules stay excluded; otherwise each module would report the other's table as a
    # change.
    excluded = sorted({*(before["excluded"] or ()), history_table})
    version: int = connection.get_server_version().major
    objects = await read_catalog(connection, schema, own_tables(excluded))
    listing, fingerprint = await asyncio.to_thread(_pack, objects)
    now = before["now"]
    same = (fingerprint, FORMAT, version, excluded)
    if same == (before["fingerprint"], before["format"], before["server_version"], before["excluded"]):
        await connection.execute(statement("snapshots", "confirm", snapshots=table), now, module, fingerprint)
    else:
        await connection.execute(
            statement("snapshots", "keep", snapshots=table),
            now,
            module,
            FORMAT,
            version,
            fingerprint,
            excluded,
            listing,
        )
    return fingerprint


async def drift(connection: Connection, schema: str, history_table: str) -> DriftReport:
    """Compare ``schema`` with its snapshot. Changes nothing."""
    table = f"{quote(schema)}.{quote(TABLE)}"
    try:
        async with savepoint(connection):
            row = await connection.fetchrow(statement("snapshots", "newest", snapshots=table))
    except NOT_THERE:
        row = None
    if row is None:
        return DriftReport(False, reason="There is no snapshot yet. Apply takes one when it has applied something.")
    since, module = row["taken_at"], row["module"]
    if row["format"] != FORMAT:
        return DriftReport(
            False,
            since,
            module,
            reason="The snapshot was taken by another version of pgdbm and cannot be compared. Take a new one.",
        )
    objects = await read_catalog(connection, schema, own_tables({*row["excluded"], history_table}))
    changes = await asyncio.to_thread(_changes, row["listing"], row["fingerprint"], objects)
    reasons = []
    version: int = connection.get_server_version().major
    if changes and version != row["server_version"]:
        reasons.append(
            f"The snapshot was taken on PostgreSQL {row['server_version']} and the server is {version} now: it may "
            f"format equal definitions differently."
        )
    if changes and await _applied_since(connection, f"{quote(schema)}.{quote(history_table)}", since):
        # The run was killed between its last commit and its snapshot.
        reasons.append(
            "Migrations were applied after the snapshot was taken, and their changes are listed, too: the run that "
            "applied them took no snapshot. The next run that applies something will take one."
        )
    return DriftReport(not changes, since, module, changes, " ".join(reasons) or None)


def own_tables(history_tables: Iterable[str]) -> tuple[str, ...]:
    """The tables of pgdbm in a schema."""
    return (TABLE, journal.TABLE, BACKFILLS, *history_tables)


def _pack(objects: tuple[CatalogObject, ...]) -> tuple[bytes, str]:
    listing = serialize(objects)
    return zlib.compress(listing, _COMPRESSION), fingerprint_of(listing)


def _changes(packed: bytes, fingerprint: str, objects: tuple[CatalogObject, ...]) -> tuple[Change, ...]:
    if fingerprint_of(serialize(objects)) == fingerprint:
        return ()
    return difference(deserialize(zlib.decompress(packed)), objects)


async def _applied_since(connection: Connection, history: str, since: datetime) -> bool:
    try:
        async with savepoint(connection):
            found: bool = await connection.fetchval(statement("snapshots", "applied_since", history=history), since)
            return found
    except NOT_THERE:
        return False


async def _previous(connection: Connection, schema: str, table: str) -> Record:
    previous = statement("snapshots", "previous", snapshots=table)
    try:
        async with savepoint(connection):
            row = await connection.fetchrow(previous)
    except NOT_THERE:
        await create(connection, schema)
        row = await connection.fetchrow(previous)
    assert row is not None
    return row
