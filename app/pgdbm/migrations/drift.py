"""Drift: what changed in a schema since migrations were last applied to it, other than by them.

A snapshot belongs to the schema: modules that share one also share its objects, and whichever applied last saw them
all. There is one row, beside the history, and the newest look at the schema wins.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.creation import NOT_THERE, create_if_missing
from ..core.identifiers import quote
from ..sql import statement
from . import journal
from .catalog import FORMAT, CatalogObject, Change, deserialise, difference, fingerprint_of, read_catalog, serialise

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

TABLE = "pgdbm_snapshots"

# More takes several times as long for a fifth less.
_COMPRESSION = 1


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What differs now from what was there ``since`` ``module`` was applied, the last that was.

    ``clean``: it was compared, and nothing differs. ``reason`` says what to know about the comparison, or why there
    was none; None where it needs no word.
    """

    clean: bool
    since: datetime | None = None
    module: str | None = None
    changes: tuple[Change, ...] = ()
    reason: str | None = None


async def create(connection: Any, schema: str) -> None:
    """Make the table of snapshots where it is missing; several may do so at once."""
    table = f"{quote(schema)}.{quote(TABLE)}"
    await create_if_missing(connection, statement("snapshots", "create", snapshots=table), wait_for_disk=False)


async def save(connection: Any, schema: str, module: str, history_table: str) -> str:
    """Keep what ``schema`` is now as what ``module`` left behind; returns its fingerprint.

    For after an apply that changed something: in its transaction or, better, after it. Makes its table where it is
    missing; several may do so at once. Takes no lock that anybody would wait for.
    """
    table = f"{quote(schema)}.{quote(TABLE)}"
    before = await _look(connection, schema, table)
    # What another module named stays excluded, or each would see the history of the other come and go.
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


async def drift(connection: Any, schema: str, history_table: str) -> DriftReport:
    """Compare ``schema`` with what it was when migrations were last applied. Changes nothing."""
    table = f"{quote(schema)}.{quote(TABLE)}"
    try:
        async with _savepoint(connection):
            row = await connection.fetchrow(statement("snapshots", "newest", snapshots=table))
    except NOT_THERE:
        row = None
    if row is None:
        return DriftReport(False, reason="No snapshot was taken yet: apply takes one when it has applied something.")
    since, module = row["taken_at"], row["module"]
    if row["format"] != FORMAT:
        return DriftReport(
            False,
            since,
            module,
            reason="The snapshot was taken by another version of pgdbm and cannot be compared: take a new one.",
        )
    objects = await read_catalog(connection, schema, own_tables({*row["excluded"], history_table}))
    changes = await asyncio.to_thread(_changes, row["listing"], row["fingerprint"], objects)
    reasons = []
    version: int = connection.get_server_version().major
    if changes and version != row["server_version"]:
        reasons.append(
            f"The snapshot was taken on PostgreSQL {row['server_version']} and the server is {version} now: it may "
            f"write definitions differently that mean the same."
        )
    if changes and await _applied_since(connection, f"{quote(schema)}.{quote(history_table)}", since):
        # Whoever was killed between its last commit and its snapshot.
        reasons.append(
            "Migrations were applied after the snapshot was taken, and what they changed is among the changes: the "
            "run that applied them took none. The next one that applies something does."
        )
    return DriftReport(not changes, since, module, changes, " ".join(reasons) or None)


def own_tables(history_tables: Iterable[str]) -> tuple[str, ...]:
    """The tables in a schema that are no module's but ours."""
    return (TABLE, journal.TABLE, *history_tables)


def _pack(objects: tuple[CatalogObject, ...]) -> tuple[bytes, str]:
    listing = serialise(objects)
    return zlib.compress(listing, _COMPRESSION), fingerprint_of(listing)


def _changes(packed: bytes, fingerprint: str, objects: tuple[CatalogObject, ...]) -> tuple[Change, ...]:
    if fingerprint_of(serialise(objects)) == fingerprint:
        return ()
    return difference(deserialise(zlib.decompress(packed)), objects)


async def _applied_since(connection: Any, history: str, since: datetime) -> bool:
    try:
        async with _savepoint(connection):
            found: bool = await connection.fetchval(statement("snapshots", "applied_since", history=history), since)
            return found
    except NOT_THERE:
        return False


async def _look(connection: Any, schema: str, table: str) -> Any:
    look = statement("snapshots", "look", snapshots=table)
    try:
        async with _savepoint(connection):
            return await connection.fetchrow(look)
    except NOT_THERE:
        pass
    await create(connection, schema)
    return await connection.fetchrow(look)


def _savepoint(connection: Any) -> Any:
    """What an error inside of must not end, if there is a transaction."""
    return connection.transaction() if connection.is_in_transaction() else nullcontext()
