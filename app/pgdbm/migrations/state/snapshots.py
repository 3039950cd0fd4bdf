"""The snapshot of a schema: the objects that it had after migrations were last applied, with which it is compared.

If a run can only have changed a few tables, only those are listed again, and the rest of the snapshot stays: manual
changes there remain drift. Otherwise the snapshot has the schema as the run left it.

A snapshot belongs to the schema: modules that share a schema share its objects. Its table, beside the history, has one
row: the newest snapshot wins.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from ...core.connection import fetch_prepared_later, savepoint
from ...core.creation import NOT_THERE, create_if_missing
from ...core.templating import quote
from ...sql import statement
from . import journal
from .catalog import read_listing, read_tables
from .history import History, require_own_table
from .packing import FORMAT, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from asyncpg import Record

    from ...core.connection import Connection

TABLE = "pgdbm_snapshots"
BACKFILLS = "pgdbm_backfills"

# The first version of PostgreSQL whose CREATE TABLE knows STORAGE.
_WITH_STORAGE = 16


class Touched(NamedTuple):
    """What the files of a run may have changed in the catalog: ``tables`` of the schema.

    ``created`` are the tables that they create, ``unqualified`` those that they name without the schema.
    """

    filenames: tuple[str, ...]
    tables: frozenset[str] = frozenset()
    created: frozenset[str] = frozenset()
    unqualified: frozenset[str] = frozenset()


async def create(connection: Connection, schema: str) -> None:
    """Create the table of snapshots unless it exists. Safe against concurrent sessions."""
    table = f"{quote(schema)}.{quote(TABLE)}"
    major: int = connection.get_server_version().major
    uncompressed = "STORAGE EXTERNAL" if major >= _WITH_STORAGE else ""
    create_table = statement("snapshots", "create", snapshots=table, uncompressed=uncompressed)
    await create_if_missing(connection, create_table, durable=False)


async def save(
    connection: Connection,
    schema: str,
    module: str,
    history_table: str,
    role: str | None = None,
    touched: Touched | None = None,
) -> str:
    """Store a snapshot of ``schema``, as ``module`` left it. Returns its fingerprint.

    To be called after an apply that changed something, preferably after its transaction: then the commit does not wait
    for the disk. Creates its table unless it exists. Takes no lock that other sessions wait for. Writes nothing to a
    table that belongs to ``role``.

    ``touched``: what the apply may have changed, if that is known. Then only that is listed, if it is safe, and the
    rest of the snapshot stays: manual changes there remain differences.
    """
    table = f"{quote(schema)}.{quote(TABLE)}"
    await require_own_table(connection, table, role)
    filenames = list(touched.filenames) if touched is not None else []
    before = await _previous(connection, History(schema, history_table, module), filenames, touched is not None)
    # The history tables of other modules stay excluded; otherwise each module would report the other's table as a
    # change.
    excluded = sorted({*(before["excluded"] or ()), history_table})
    version: int = connection.get_server_version().major
    # Read before the catalog: what is applied in between is then missing from both, or found in both the next time.
    digests = {
        one: before if one == history_table else await _digests_of(connection, History(schema, one, module), filenames)
        for one in excluded
    }
    totals = {one: found["total"] for one, found in digests.items()}
    same = (FORMAT, version, excluded) == (before["format"], before["server_version"], before["excluded"])
    if touched is not None and same:
        others = {one: found["others"] for one, found in digests.items()}
        fingerprint = await _replace(connection, schema, module, before, touched, totals, others)
        if fingerprint is not None:
            return fingerprint
    listing = await read_listing(connection, schema, own_tables(excluded))
    packed = await asyncio.to_thread(pack, listing, totals)
    await fetch_prepared_later(
        connection,
        statement("snapshots", "keep", snapshots=table),
        before["now"],
        module,
        FORMAT,
        version,
        packed.fingerprint,
        excluded,
        packed.to_bytes(),
        connection.is_in_transaction(),
    )
    return packed.fingerprint


async def _replace(
    connection: Connection,
    schema: str,
    module: str,
    before: Record,
    touched: Touched,
    totals: dict[str, str | None],
    others: dict[str, str | None],
) -> str | None:
    """Replace what is ``touched`` in the snapshot ``before``; None if the whole schema has to be listed."""
    table, excluded = f"{quote(schema)}.{quote(TABLE)}", before["excluded"]
    hidden = own_tables(excluded)
    if not touched.tables.isdisjoint(hidden):
        return None
    packed = None if before["listing"] is None else unpack(before["listing"])
    # If a history has other rows, a run has ended without a snapshot, or has not taken its own yet.
    if packed is None or packed.has_hidden or packed.histories != others:
        return None
    relations = {}
    if touched.tables:
        listing = await read_tables(connection, schema, hidden, sorted(touched.tables), sorted(touched.unqualified))
        if listing is None:
            return None
        relations = listing.relations
    replaced = packed.with_relations(relations, touched.created, totals)
    if replaced is None:
        return None
    replaced_rows = await fetch_prepared_later(
        connection,
        statement("snapshots", "replace", snapshots=table),
        before["now"],
        module,
        before["server_version"],
        replaced.fingerprint,
        excluded,
        replaced.to_bytes(),
        before["taken_at"],
        before["fingerprint"],
        connection.is_in_transaction(),
    )
    return replaced.fingerprint if replaced_rows else None


async def _digests_of(connection: Connection, history: History, filenames: Sequence[str]) -> Mapping[str, str | None]:
    """``total``: a digest of all rows in a history table; ``others``: one of those that are not ``filenames`` of its
    module.

    If the table cannot be read, ``others`` equals no other digest.
    """
    try:
        async with savepoint(connection):
            (row,) = await fetch_prepared_later(connection, history.sql("digests"), history.module, filenames)
    except asyncpg.PostgresError:
        return {"total": None, "others": "unknown"}
    return dict(row)


def own_tables(history_tables: Iterable[str]) -> tuple[str, ...]:
    """pgdbm's own tables in a schema."""
    return (TABLE, journal.TABLE, BACKFILLS, *history_tables)


async def _previous(connection: Connection, history: History, filenames: Sequence[str], with_listing: bool) -> Record:
    """The snapshot that exists, with the digests of ``history`` as in :func:`_digests_of`."""
    table = f"{quote(history.schema)}.{quote(TABLE)}"
    previous = statement("snapshots", "previous", snapshots=table, digests=history.sql("digests"))
    arguments = history.module, filenames, with_listing
    try:
        async with savepoint(connection):
            (row,) = await fetch_prepared_later(connection, previous, *arguments)
    except NOT_THERE:
        await create(connection, history.schema)
        (row,) = await fetch_prepared_later(connection, previous, *arguments)
    return row
