"""Rehearsal: the history and what is pending, run in a schema of its own that is gone afterwards.

Nothing outside of that schema is changed for good. Each file commits in it, so that every file meets the locks that it
will meet for real, as long as what it did is known to have stayed inside. The first that reached beyond, or may have,
is not committed, nor is any file after it: they share a transaction that is rolled back at the end, and ends early
where its locks would keep others waiting.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from ..core.config import search_path_entries
from ..core.identifiers import quote
from ..core.pool import is_alive
from ..core.queries import FAILURES
from ..errors import AsyncDBError
from ..sql import statement
from .batches import parse_all
from .catalog import read_catalog
from .confinement import check_all_stay_in_role
from .drift import own_tables
from .plan import build_plan
from .rehearsal import FileRehearsal, Rehearsal
from .rehearser import FailedError, Rehearser, StoppedError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from ..core.manager import AsyncDatabaseManager
    from .files import Migration
    from .history import History
    from .parser import ParsedMigration
    from .results import OutOfOrder

logger = logging.getLogger("pgdbm.migrations")

_PREFIX = "pgdbm_rehearsal_"
_SCRATCH = rf"^{_PREFIX}[0-9a-f]{{16}}$"
_TABLES_PER_DROP = 500
_DROP_ATTEMPTS = 5


async def rehearse(
    db: AsyncDatabaseManager,
    migrations: Sequence[Migration],
    history: History,
    *,
    out_of_order: OutOfOrder = "allow",
    target: str | None = None,
    timeout: float | None = 300.0,
    lock_timeout: float | None = 5.0,
    role: str | None = None,
    with_catalog: bool = False,
) -> Rehearsal:
    """Run what ``history`` has of ``migrations``, then what is pending, in a schema with a random name; drop it.

    The tables are empty but for what migrations insert: locks are those of the real run, times are not. ``timeout``
    (seconds, None: no limit) is for all of it but the dropping. ``lock_timeout`` (seconds, None: the server's setting)
    bounds what a statement waits for anybody's lock. Files run as ``role``, if there is one. ``with_catalog``: also
    list what was built, to compare it with :func:`pgdbm.migrations.catalog.read_catalog` of the real schema.

    What a file or a statement does wrong is in the answer and not raised.

    Raises:
        ChecksumMismatchError, OutOfOrderError, MigrationFileError: as apply does, before anything has run.
        ConnectionError: the server could not be reached.
    """
    began = time.perf_counter()
    async with db.acquire() as connection:
        rows = await history.rows(connection)
        server_version: int = connection.get_server_version().major
    recorded = {row.filename: row.checksum for row in rows}
    pending = build_plan(migrations, recorded, out_of_order, target).pending
    by_name = {migration.filename: migration for migration in migrations}
    # What was applied is replayed as it was, whatever its order.
    replayed = [by_name[name] for name in recorded if name in by_name and by_name[name].checksum == recorded[name]]
    rehearsal = Rehearsal(
        schema=f"{_PREFIX}{secrets.token_hex(8)}",
        missing=tuple(name for name in recorded if name not in by_name),
        not_reached=tuple(migration.filename for migration in pending),
    )
    parsed = await asyncio.to_thread(parse_all, (*replayed, *pending), rehearsal.schema, server_version)
    if role is not None:
        await asyncio.to_thread(check_all_stay_in_role, parsed[len(replayed) :])
    try:
        await _drop_abandoned(db)
        async with asyncio.timeout(timeout):
            async with db.acquire_direct() as connection:
                await _run(connection, rehearsal, parsed, len(replayed), history, lock_timeout, role, with_catalog)
    except FailedError as failed:
        rehearsal.failure = failed.failure
    except StoppedError as stopped:
        rehearsal.stopped = str(stopped)
    except TimeoutError as error:
        if error.errno is not None:
            # The system's own, of a connection that is lost.
            raise db.failure(error, f"(rehearsing in {rehearsal.schema})", ()) from error
        rehearsal.stopped = f"It took longer than {timeout} s."
    except FAILURES as error:
        raise db.failure(error, f"(rehearsing in {rehearsal.schema})", ()) from error
    finally:
        await _certainly(_drop(db, rehearsal))
    rehearsal.milliseconds = (time.perf_counter() - began) * 1000
    return rehearsal


async def _run(
    connection: Any,
    rehearsal: Rehearsal,
    parsed: Sequence[ParsedMigration],
    replayed: int,
    history: History,
    lock_timeout: float | None,
    role: str | None,
    with_catalog: bool,
) -> None:
    schema = rehearsal.schema
    await connection.execute(statement("rehearsal", "alive"), schema)
    await connection.execute(statement("rehearsal", "create", schema=quote(schema)))
    if role is not None:
        await connection.execute(statement("runner", "grant_schema", schema=quote(schema), role=quote(role)))
    path = _path(await connection.fetchval("SELECT pg_catalog.current_setting('search_path')"), history.schema, schema)
    milliseconds = None if lock_timeout is None else str(round(lock_timeout * 1000))
    rehearser = Rehearser(connection, schema, history.schema, role, (path, milliseconds))
    await rehearser.set_up()
    try:
        for number, migration in enumerate(parsed):
            measured = number >= replayed
            if measured:
                rehearsal.not_reached = rehearsal.not_reached[1:]
            file = FileRehearsal(migration.filename, migration.transactional)
            if measured:
                rehearsal.files.append(file)
            else:
                rehearsal.replayed.append(migration.filename)
            await rehearser.run(migration, file, measured=measured)
        if with_catalog:
            excluded = own_tables([history.table_name])
            rehearsal.catalog = await read_catalog(connection, schema, excluded, stands_for=history.schema)
    finally:
        rehearsal.kept_open_since = rehearser.open_since
        if is_alive(connection):
            with suppress(*FAILURES):
                await rehearser.roll_back()


def _path(current: str, real: str, scratch: str) -> str:
    """The search_path with the scratch schema where the real one is; what extensions put into public stays in reach."""
    entries = search_path_entries(current)
    replaced = [scratch if entry == real else entry for entry in entries]
    if real == "public" in entries:
        replaced.insert(replaced.index(scratch) + 1, real)
    return ", ".join(map(quote, replaced))


async def _drop(db: AsyncDatabaseManager, rehearsal: Rehearsal) -> None:
    for attempt in range(1, _DROP_ATTEMPTS + 1):
        try:
            async with db.acquire() as connection:
                await _drop_schema(connection, rehearsal.schema)
        except (AsyncDBError, *FAILURES) as error:
            # What refers to other schemas needs their tables for a moment, and somebody may be using them.
            logger.warning("Dropping %s failed (attempt %d): %s", rehearsal.schema, attempt, error)
            await asyncio.sleep(0.2 * attempt)
        else:
            return
    rehearsal.left_behind = rehearsal.schema


async def _drop_schema(connection: Any, schema: str) -> None:
    while tables := await connection.fetch(statement("rehearsal", "tables"), schema, _TABLES_PER_DROP):
        if len(tables) < _TABLES_PER_DROP:
            break
        names = ", ".join(row[0] for row in tables)
        await connection.execute(f"DROP TABLE IF EXISTS {names} CASCADE")
    await connection.execute(statement("rehearsal", "drop", schema=quote(schema)))


async def _drop_abandoned(db: AsyncDatabaseManager) -> None:
    """Drop what a process left that died while it rehearsed."""
    async with db.acquire() as connection:
        for row in await connection.fetch(statement("rehearsal", "abandoned"), _SCRATCH):
            with suppress(asyncpg.PostgresError):
                await _drop_schema(connection, row["nspname"])


async def _certainly(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end, also when cancelled meanwhile; then be cancelled."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
