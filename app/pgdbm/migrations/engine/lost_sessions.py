"""Distinguishes a file that always ends its own session from an outage.

A file can terminate its backend, or crash it. Each run of it then ends with a lost connection, and to run again would
help as little the next time. So the journal records where a session was lost that ended by itself: the server sent the
reason, or its processes were restarted because one of them crashed. If that happens again at the same place, while the
server was not restarted and is the same one as after the first time, it is a failure of the file. The same holds for a
down migration. A rehearsal, which keeps nothing and can be repeated, reports the first time already.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from ...core.asyncpg_errors import FAILURES
from ...errors import AsyncDBError, MigrationExecutionError
from ...sql import statement
from ..state.journal import hash_of
from .retries import until_reachable

if TYPE_CHECKING:
    from ...core.connection import Connection
    from ..sources.parser import ParsedMigration
    from .engine import MigrationEngine
    from .run import Run

logger = logging.getLogger("pgdbm.migrations")

TERMINATED_HINT = (
    "Does the statement, or a trigger or a function that it calls, end its own session, as "
    "pg_terminate_backend(pg_backend_pid()) does? Remove that. If another session or a monitoring tool ends long "
    "sessions, exempt this one. Then run again."
)
CRASHED_HINT = (
    "The log of the server says by which signal the process ended. Signal 9: it was probably killed for its memory, so "
    "let the statement do less in one go. Otherwise the statement, or an extension that it uses, triggers a bug of the "
    "server: change it or update the server. Then run again."
)
_TERMINATED = "The server ended the session while this ran, for the second time, and was not restarted in the meantime."
_CRASHED = "The session crashed the second time while this ran, and the server restarted all of its processes."


class OwnEnd(NamedTuple):
    """How a session ended by itself: ``reason`` is what the server sent, or None after a crash of its process.

    ``server`` identifies the server since its last start.
    """

    server: str
    reason: BaseException | None


async def how_it_ended(connection: Connection, error: BaseException, since: float, *, all_ended: bool) -> OwnEnd | None:
    """How the session that was lost with ``error`` ended; None if not by itself, as when the server was stopped.

    ``connection`` is a new one to the same server. ``since`` is a time of :func:`time.perf_counter` before the loss.
    ``all_ended``: the server has announced to the lost session that it ends every session.
    """
    server = await connection.fetchrow(statement("journal", "server"), time.perf_counter() - since)
    assert server is not None
    reason = _reason_of(error)
    is_crash = bool(server["crashed"]) and reason is None
    is_end = not server["crashed"] and isinstance(reason, asyncpg.AdminShutdownError)
    if server["restarted"] or all_ended or not (is_crash or is_end):
        return None
    return OwnEnd(server["server"], reason)


async def own_end_of(
    engine: MigrationEngine, run: Run, migration: ParsedMigration, error: BaseException
) -> MigrationExecutionError | None:
    """As :func:`own_end` for a single file, as soon as the server can be reached again."""
    try:
        await until_reachable(lambda: engine.lock.wait_until_free(engine.db), engine.options.reconnect_for)
    except (AsyncDBError, *FAILURES):
        return None
    return await own_end(engine, run, [migration], error)


async def own_end(
    engine: MigrationEngine, run: Run, missing: list[ParsedMigration], error: BaseException
) -> MigrationExecutionError | None:
    """Record at which of ``missing`` the session ended, if it ended by itself; returns the error if it is the second
    time at the same place.
    """
    try:
        async with engine.db.acquire() as connection:
            return await _recorded(engine, connection, run, missing, error)
    except (AsyncDBError, *FAILURES) as refused:
        logger.warning("Where the connection was lost could not be written to the journal: %s", refused)
        return None


async def _recorded(
    engine: MigrationEngine, connection: Connection, run: Run, missing: list[ParsedMigration], error: BaseException
) -> MigrationExecutionError | None:
    journal = engine.journal
    ended = await how_it_ended(connection, error, run.started, all_ended=run.notices.ends)
    if ended is None:
        return None
    reason = ended.reason
    migration, number, place = _place(run, missing)
    name = migration.filename
    is_again = await journal.record_lost(connection, name, number, place, ended.server, str(reason or error))
    if not is_again:
        return None
    failure = _failure(migration, number, reason)
    await _record_failure(engine, connection, migration, failure)
    engine.announcer.emit(
        "migration_failed", migration.filename, number, sqlstate=failure.sqlstate, message=failure.sql_error
    )
    times = await engine.history.times(connection, run.applied) if run.applied else {}
    failure.applied = [{"filename": name, "execution_time_ms": times.get(name, 0)} for name in run.applied]
    return failure


async def _record_failure(
    engine: MigrationEngine, connection: Connection, migration: ParsedMigration, failure: MigrationExecutionError
) -> None:
    journal, name, number = engine.journal, migration.filename, failure.statement
    if migration.transactional or migration.backfill is not None:
        await journal.record(
            connection, name, "failed", statement=number, sqlstate=failure.sqlstate, message=failure.sql_error
        )
        return
    from .non_transactional import commits_its_end
    from .steps import steps_of

    # Where the outcome is certain, the statement may be changed in the file now.
    record = (await journal.statements(connection, name)).get(number or 0)
    step = next((one for one in steps_of(migration) if one.number == number), None)
    if record is not None and step is not None and record.event == "started" and commits_its_end(step, record):
        await journal.end(connection, record.id, "failed", failure.sqlstate, failure.sql_error)


def _reason_of(error: BaseException | None) -> BaseException | None:
    """What the server sent when it ended the session: asyncpg's own error has it as its cause.

    The message of a pooler does not count: it names no function of the server.
    """
    while error is not None and getattr(error, "server_source_function", None) is None:
        error = error.__cause__
    return error


def _place(run: Run, missing: list[ParsedMigration]) -> tuple[ParsedMigration, int | None, str]:
    """The file, the number of the statement, and a digest of what ran."""
    position = run.position
    if position is None or all(one is not position.migration for one in missing):
        # Several files in a message: the first that is missing is the one that ran.
        return missing[0], None, missing[0].migration.checksum
    migration, first, last, detail = position
    number = min(first + run.notices.completed, last)
    statement = migration.statements[number - 1]
    return migration, number, hash_of(f"{migration.text_of(statement)}\n{detail}")


def _failure(migration: ParsedMigration, number: int | None, reason: BaseException | None) -> MigrationExecutionError:
    """``reason``: as the server sent it; None after a crash."""
    line, column = migration.position(migration.statements[number - 1].start) if number else (None, None)
    where = f"{migration.filename}:{line}:{column}: statement {number}" if number else migration.filename
    text, hint = (_CRASHED, CRASHED_HINT) if reason is None else (_TERMINATED, TERMINATED_HINT)
    return MigrationExecutionError(
        f"{where}: {text}",
        migration.filename,
        statement=number,
        line=line,
        column=column,
        sqlstate=getattr(reason, "sqlstate", None),
        sql_error=text if reason is None else str(reason),
        hint=hint,
        transactional=migration.transactional,
    )
