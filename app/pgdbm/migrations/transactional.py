"""Applying transactional migrations: several cheap files in one message, others statement by statement."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import asyncpg

from ..core.pool import is_lost
from ..errors import MigrationExecutionError
from ..sql import statement
from .failures import RETRYABLE, execution_error, located, offset_of, raise_if_refused, retry_pauses
from .message import compose, compose_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .message import Message
    from .parser import ParsedMigration, Statement
    from .session import Session

logger = logging.getLogger("pgdbm.migrations")

_RECORDING = "It failed where the engine writes the history row: as which role did the file leave the transaction?"
_COMMITTING = "It failed at COMMIT, where deferred constraints are checked."


async def apply_together(
    session: Session, group: Sequence[ParsedMigration], message: Message, meanwhile: Callable[[], None]
) -> None:
    """Several cheap files in ``message``, a transaction each; does ``meanwhile`` while the server works."""
    try:
        await _send_and(session, message, meanwhile)
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        committed = await _roll_back_to(session, message)
        for migration in group[:committed]:
            session.note_applied(migration, on_disk=False)
        raise_if_refused(error)
        failed, rest = group[committed], group[committed + 1 :]
        where = message.locate(int(error.position) - 1) if error.position else None
        if where is not None and where[0] is failed and error.sqlstate not in RETRYABLE:
            reason = located(error, *where)
            await note_failure(session, reason, attempt=1)
            raise reason from error
        # The server does not say where, or a lock of somebody else's was in the way: run the file, which left nothing
        # behind, by statement, which finds out, and tries again.
        await apply_by_statement(session, failed)
        if rest:
            await apply_together(session, rest, compose(session.composer, rest, session.last), _nothing)
    else:
        for migration in group:
            session.note_applied(migration, on_disk=session.waits_for_disk(migration))


async def _send_and(session: Session, message: Message, meanwhile: Callable[[], None]) -> None:
    sending = asyncio.ensure_future(session.send(message.text))
    try:
        # Once for the task to begin, and with it the bytes to leave.
        await asyncio.sleep(0)
        meanwhile()
        await sending
    finally:
        if not sending.done():
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def _nothing() -> None:
    return None


async def _roll_back_to(session: Session, message: Message) -> int:
    """Roll back what failed of ``message``; returns how many of its migrations were committed before."""
    try:
        await session.send(statement("runner", "done"))
    except asyncpg.InvalidTextRepresentationError as answer:
        return message.committed(str(answer))
    return 0


async def apply_by_statement(session: Session, migration: ParsedMigration) -> None:
    """One file in one transaction, a message per statement; tried again while others' locks are in the way."""
    await _with_retries(session, (migration,))


async def apply_all(session: Session, migrations: Sequence[ParsedMigration]) -> None:
    """Every one of ``migrations`` in one transaction: all or nothing."""
    if not session.announcer.is_heard and all(migration.cheap for migration in migrations):
        try:
            await session.send(compose_all(session.composer, migrations))
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            await session.roll_back()
            raise_if_refused(error)
        else:
            for migration in migrations:
                session.note_applied(migration, on_disk=True)
            return
    await _with_retries(session, migrations)


async def _with_retries(session: Session, migrations: Sequence[ParsedMigration]) -> None:
    began = time.monotonic()
    for attempt, pause in enumerate(retry_pauses(), 1):
        try:
            await _try(session, migrations)
        except MigrationExecutionError as error:
            error.attempts = attempt
            if error.sqlstate not in RETRYABLE or time.monotonic() - began + pause > session.retry_for:
                await note_failure(session, error, attempt)
                raise
            await note_failure(session, error, attempt, retried=True)
            logger.info("Attempt %d at %s: %s; again in %.1f s", attempt, error.migration_file, error.sql_error, pause)
            session.announcer.say(
                "retrying",
                error.migration_file,
                error.statement,
                attempt=attempt,
                sqlstate=error.sqlstate,
                message=error.sql_error,
                pause_s=pause,
            )
            await asyncio.sleep(pause)
        else:
            return


async def _try(session: Session, migrations: Sequence[ParsedMigration]) -> None:
    """One attempt at ``migrations`` in one transaction."""
    composer, announcer = session.composer, session.announcer
    running: Statement | None = None
    otherwise = ""
    current = migrations[0]
    began = time.perf_counter()
    try:
        wait_for_disk = session.waits_for_disk(migrations[-1])
        for current in migrations:
            announcer.say("migration_began", current.filename, statements=len(current.statements))
            if current is migrations[0]:
                await session.send(composer.preamble(current, wait_for_disk=wait_for_disk))
            else:
                await session.send(composer.look(current))
            for running in current.statements:
                announcer.say("statement_began", current.filename, running.number, len(current.statements))
                statement_began = time.perf_counter()
                await session.send(current.text_of(running))
                announcer.say(
                    "statement_ended",
                    current.filename,
                    running.number,
                    len(current.statements),
                    ms=(time.perf_counter() - statement_began) * 1000,
                )
            running, otherwise = None, _RECORDING
            await session.send(composer.record(current))
            otherwise = ""
        commit, otherwise = "COMMIT", _COMMITTING
        if any(migration.changes_session for migration in migrations):
            # In the same message: through a transaction pooler the next one may reach another session.
            commit += f";\n{session.reset_sql}"
        await session.send(commit)
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        await session.roll_back()
        if running is None:
            raise_if_refused(error)
        raise execution_error(error, current, running, offset_of(error), otherwise) from error
    for migration in migrations:
        session.note_applied(migration, on_disk=wait_for_disk)
        announcer.say("migration_ended", migration.filename, ms=(time.perf_counter() - began) * 1000)


async def note_failure(
    session: Session, error: MigrationExecutionError, attempt: int, *, retried: bool = False
) -> None:
    """Write an attempt that failed into the journal; that it cannot be written is logged, and no more."""
    assert error.migration_file is not None
    if not retried:
        session.announcer.say(
            "migration_failed", error.migration_file, error.statement, sqlstate=error.sqlstate, message=error.sql_error
        )
    try:
        await session.journal.note(
            session.connection,
            error.migration_file,
            "retried" if retried else "failed",
            statement=error.statement,
            attempt=attempt,
            sqlstate=error.sqlstate,
            message=error.sql_error,
        )
    except asyncpg.PostgresError as refused:
        logger.warning("The failure of %s could not be written to the journal: %s", error.migration_file, refused)
