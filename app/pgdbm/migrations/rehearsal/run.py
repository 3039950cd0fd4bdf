"""Rehearsal: runs the history and what is pending in a scratch schema, which is dropped afterwards.

Nothing outside that schema is changed permanently. A file whose effects are known to have stayed inside commits, so
that the next file takes the locks that it will take in the real run. The first file that reached outside, or may have,
is not committed, nor is any later one: they share a transaction that is rolled back at the end, or earlier if its locks
would block other sessions.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from ...core.asyncpg_errors import FAILURES, is_alive, is_lost
from ...core.config import search_path_entries
from ...core.templating import quote
from ...errors import AsyncDBError
from ...sql import statement
from ..engine.lost_sessions import CRASHED_HINT, TERMINATED_HINT, OwnEnd, how_it_ended
from ..engine.notices import NoticeCollector, collected
from ..engine.options import milliseconds_of
from ..engine.plan import build_plan
from ..engine.retries import until_reachable
from ..engine.search_path import search_path_of_files
from ..sources.batches import parse_each
from ..sources.role_checks import check_keeps_role
from ..state.catalog import read_catalog
from ..state.snapshots import own_tables
from .executor import (
    RehearsalExecutor,
    RehearsalStoppedError,
    RehearsedFile,
    SessionLostError,
    StatementFailedError,
)
from .results import Failure, FileRehearsal, Rehearsal

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from ...core.connection import Connection
    from ...core.manager import AsyncDatabaseManager
    from ..results import OutOfOrder
    from ..sources.migration import Migration
    from ..state.history import History

logger = logging.getLogger("pgdbm.migrations")

_PREFIX = "pgdbm_rehearsal_"
_SCRATCH = rf"^{_PREFIX}[0-9a-f]{{16}}$"
_TABLES_PER_DROP = 500
_DROP_ATTEMPTS = 5
_RECONNECT_S = 60.0
_CRASHED = "The session crashed, and the server restarted all of its processes"


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
    with_catalogs: bool = False,
) -> Rehearsal:
    """Run the ``migrations`` in ``history``, then the pending ones, in a schema with a random name, and drop it.

    Tables hold only the rows that migrations insert: locks are those of the real run, times are not. ``timeout``
    (seconds, None: no limit) limits everything except dropping the schema. ``lock_timeout`` (seconds, None: the
    server's setting) limits how long a statement waits for a lock. Files run as ``role``, if it is given.
    ``with_catalog``: also list what was built, to compare it with
    :func:`pgdbm.migrations.state.catalog.read_catalog` of the real schema; ``with_catalogs``: after each pending file.

    A statement that fails is reported in the result, not raised.

    Raises:
        ChecksumMismatchError, OutOfOrderError, MigrationFileError: as apply does, before anything has run.
        ConnectionError: the server could not be reached.
    """
    started = time.perf_counter()
    async with db.acquire() as connection:
        rows = await history.rows(connection)
        server_version: int = connection.get_server_version().major
    recorded = {row.filename: row.checksum for row in rows}
    plan = build_plan(migrations, recorded, out_of_order, target)
    pending = plan.to_run
    by_name = {plan.renamed.get(migration.filename, migration.filename): migration for migration in migrations}
    # Applied files are replayed in the order in which they were applied.
    replayed = [by_name[name] for name in recorded if name in by_name and by_name[name].matches(recorded[name])]
    rehearsal = Rehearsal(
        schema=f"{_PREFIX}{secrets.token_hex(8)}",
        missing=tuple(name for name in recorded if name not in by_name),
        not_reached=tuple(migration.filename for migration in pending),
    )
    limit: asyncio.Timeout | None = None
    notices = NoticeCollector(lambda _: None)
    notices.pause()
    files = await asyncio.to_thread(_parsed, replayed, pending, rehearsal.schema, server_version, role)
    try:
        await _drop_abandoned(db)
        async with asyncio.timeout(timeout) as limit:
            async with db.acquire_direct() as connection:
                path = search_path_of_files(db, history.schema)
                with collected(connection, notices):
                    await _run(
                        connection, rehearsal, files, history, path, lock_timeout, role, with_catalog, with_catalogs
                    )
    except StatementFailedError as failed:
        rehearsal.failure = failed.failure
    except RehearsalStoppedError as stopped:
        rehearsal.stopped = str(stopped)
    except SessionLostError as lost:
        rehearsal.failure = await _failure_of_lost(db, lost, started, all_ended=notices.ends)
        if rehearsal.failure is None:
            raise db.failure(lost.error, f"(rehearsing in {rehearsal.schema})", ()) from lost.error
    except TimeoutError as error:
        if limit is None or not limit.expired():
            # Not the limit above, but a query's, or the operating system's error for a lost connection.
            raise db.failure(error, f"(rehearsing in {rehearsal.schema})", ()) from error
        rehearsal.stopped = f"It took longer than {timeout} s."
    except FAILURES as error:
        raise db.failure(error, f"(rehearsing in {rehearsal.schema})", ()) from error
    finally:
        await _uninterrupted(_drop(db, rehearsal))
    rehearsal.milliseconds = (time.perf_counter() - started) * 1000
    return rehearsal


async def _failure_of_lost(
    db: AsyncDatabaseManager, lost: SessionLostError, since: float, *, all_ended: bool
) -> Failure | None:
    """The failure of the statement that was running when the session ended by itself; None if it did not."""

    async def read() -> OwnEnd | None:
        async with db.acquire() as connection:
            return await how_it_ended(connection, lost.error, since, all_ended=all_ended)

    try:
        ended = await until_reachable(read, _RECONNECT_S)
    except (AsyncDBError, *FAILURES):
        return None
    if ended is None:
        return None
    migration, running = lost.migration, lost.running
    line, column = (None, None) if running is None else migration.position(running.start)
    return Failure(
        filename=migration.filename,
        statement=None if running is None else running.number,
        line=line,
        column=column,
        sqlstate=getattr(ended.reason, "sqlstate", None),
        message=_CRASHED if ended.reason is None else f"The server ended the session: {ended.reason}",
        detail=None,
        hint=CRASHED_HINT if ended.reason is None else TERMINATED_HINT,
        replaying=lost.replaying,
    )


def _parsed(
    replayed: Sequence[Migration], pending: Sequence[Migration], schema: str, server_version: int, role: str | None
) -> list[RehearsedFile]:
    """The files of a rehearsal; raises MigrationFileError for one that cannot run."""
    files = []
    for number, file in enumerate(parse_each((*replayed, *pending), schema, server_version)):
        measured = number >= len(replayed)
        if measured and role is not None:
            check_keeps_role(file)
        files.append(RehearsedFile.of(file, schema, server_version, measured=measured))
    return files


async def _run(
    connection: Connection,
    rehearsal: Rehearsal,
    files: Sequence[RehearsedFile],
    history: History,
    search_path: str | None,
    lock_timeout: float | None,
    role: str | None,
    with_catalog: bool,
    with_catalogs: bool,
) -> None:
    schema = rehearsal.schema
    await connection.execute(statement("rehearsal", "alive"), schema)
    await connection.execute(statement("rehearsal", "create", schema=quote(schema)))
    if role is not None:
        await connection.execute(statement("runner", "grant_schema", schema=quote(schema), role=quote(role)))
    current: str = search_path or await connection.fetchval("SELECT pg_catalog.current_setting('search_path')")
    path = _path(current, history.schema, schema)
    milliseconds = None if lock_timeout is None else str(milliseconds_of(lock_timeout))
    executor = RehearsalExecutor(connection, schema, history.schema, role, (path, milliseconds))
    await executor.set_up()
    excluded = own_tables([history.table_name])
    try:
        for rehearsed in files:
            file = FileRehearsal(rehearsed.migration.filename, rehearsed.migration.transactional)
            if rehearsed.measured:
                rehearsal.not_reached = rehearsal.not_reached[1:]
                rehearsal.files.append(file)
            else:
                rehearsal.replayed.append(file.filename)
            await executor.run(rehearsed, file)
            if with_catalogs and rehearsed.measured:
                file.catalog = await read_catalog(connection, schema, excluded, stands_for=history.schema)
        if with_catalog:
            rehearsal.catalog = await read_catalog(connection, schema, excluded, stands_for=history.schema)
    finally:
        rehearsal.kept_open_since = executor.uncommitted_since
        if is_alive(connection):
            with suppress(*FAILURES):
                await executor.roll_back()


def _path(current: str, real: str, scratch: str) -> str:
    """The search_path with the scratch schema instead of the real one; ``public`` stays, for extensions."""
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
            # Foreign keys to other schemas need a lock on their tables, which other sessions may hold.
            logger.warning("Dropping %s failed (attempt %d): %s", rehearsal.schema, attempt, error)
            await asyncio.sleep(0.2 * attempt)
        else:
            return
    rehearsal.left_behind = rehearsal.schema


async def _drop_schema(connection: Connection, schema: str) -> None:
    while tables := await connection.fetch(statement("rehearsal", "tables"), schema, _TABLES_PER_DROP):
        if len(tables) < _TABLES_PER_DROP:
            break
        names = ", ".join(row[0] for row in tables)
        await connection.execute(f"DROP TABLE IF EXISTS {names} CASCADE")
    await connection.execute(statement("rehearsal", "drop", schema=quote(schema)))


async def _drop_abandoned(db: AsyncDatabaseManager) -> None:
    """Drop the schemas of rehearsals whose process died. A schema that cannot be dropped is logged and kept."""
    async with db.acquire() as connection:
        for row in await connection.fetch(statement("rehearsal", "abandoned"), _SCRATCH):
            try:
                await _drop_schema(connection, row["nspname"])
            except asyncpg.PostgresError as error:
                if is_lost(error):
                    raise
                logger.warning(
                    "The schema %s, left by an earlier rehearsal, could not be dropped: %s", row["nspname"], error
                )


async def _uninterrupted(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end; a cancellation takes effect afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
