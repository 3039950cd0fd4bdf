"""Applies transactional migrations: several batchable files in one message, others statement by statement."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

import asyncpg

from ...core.asyncpg_errors import is_lost
from ...errors import ConfigurationError, MigrationExecutionError
from ...sql import statement
from .advice import COMMITTING, DEFERRED, RECORDING, advise
from .execution_errors import AlreadyAppliedError, execution_error, located, offset_of, raise_if_refused
from .retries import RETRYABLE, report_failure, with_retries
from .script import compose, compose_all, fitting, transaction_modes
from .statement_groups import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement
    from .script import Message
    from .session import Session


_MOST_FILES_AT_FIRST = 16


def _nothing() -> None:
    return None


async def apply_in_messages(
    session: Session, group: Sequence[ParsedMigration], while_last: Callable[[], None] = _nothing
) -> None:
    """Apply batchable files, several in each message. ``while_last`` is called while the server executes the last one.

    With a listener, messages are of limited duration, so that events show the progress of the run. The first one has a
    single file, sent by statement, or several that take no time and wait for nothing.
    """
    await _Messages(session, group, while_last).apply()


def _first_size(group: Sequence[ParsedMigration]) -> int:
    """How many files the first message has: more than one if they only create tables and indexes on these."""
    created = takewhile(lambda migration: migration.locks_only_new_tables, group[:_MOST_FILES_AT_FIRST])
    return max(sum(1 for _ in created), 1)


class _Messages:
    """The messages that apply ``group``. While the server executes one, the events of the one before are emitted and,
    if its duration is not limited, the next one is composed."""

    def __init__(self, session: Session, group: Sequence[ParsedMigration], while_last: Callable[[], None]) -> None:
        self._session = session
        self._group = group
        self._while_last = while_last
        self._pace = Pace(_first_size(group)) if session.announcer.has_listener else None
        self._part: Sequence[ParsedMigration] = ()
        self._next = 0
        self._composed: Message | None = None
        self._emit_events = _nothing

    async def apply(self) -> None:
        pace = self._pace
        while part := self._following():
            self._part = part
            self._next += len(part)
            started = time.perf_counter()
            if pace is not None and len(part) == 1:
                self._emit_events()
                self._emit_events = _nothing
                await apply_by_statement(self._session, part[0])
            else:
                message = self._composed or self._compose(part)
                self._emit_events = await apply_together(self._session, part, message, self._while_executing)
            if pace is not None:
                pace.took(len(part), time.perf_counter() - started)
        self._emit_events()

    def _following(self) -> Sequence[ParsedMigration]:
        """The files of the next message, none at the end."""
        return fitting(self._group, self._next, *(() if self._pace is None else (self._pace.size,)))

    def _compose(self, part: Sequence[ParsedMigration]) -> Message:
        # What is reported to a listener is on disk.
        return compose(self._session.script, part, self._session.last if self._pace is None else part[-1])

    def _while_executing(self) -> None:
        self._emit_events()
        _emit_started(self._session, self._part[0])
        following = self._following()
        self._composed = self._compose(following) if following and self._pace is None else None
        if not following:
            self._while_last()


def _emit_started(session: Session, migration: ParsedMigration, at: datetime | None = None) -> None:
    session.announcer.emit("migration_started", migration.filename, statements=len(migration.statements), at=at)


async def _events_of(session: Session, migrations: Sequence[ParsedMigration]) -> Callable[[], None]:
    """What emits the events of files that a message has applied; all of them are on disk.

    ``migration_started`` of the first one was already emitted when the message was sent.
    """
    announcer = session.announcer
    if not announcer.has_listener or not migrations:
        return _nothing
    await session.flush()
    ended = datetime.now(UTC)
    # The times of all files, so that the result need not read them.
    times = await session.read_times()

    def emit() -> None:
        at = ended - timedelta(milliseconds=sum(times.get(one.filename, 0) for one in migrations))
        for migration in migrations:
            name, total, milliseconds = migration.filename, len(migration.statements), times.get(migration.filename, 0)
            if migration is not migrations[0]:
                _emit_started(session, migration, at)
            if total:
                announcer.emit("statement_started", name, 1, total, at=at)
            at += timedelta(milliseconds=milliseconds)
            if total:
                announcer.emit("statement_ended", name, total, total, at=at, execution_time_ms=milliseconds)
            announcer.emit("migration_ended", name, at=at, execution_time_ms=milliseconds)

    return emit


async def apply_together(
    session: Session, group: Sequence[ParsedMigration], message: Message, while_executing: Callable[[], None]
) -> Callable[[], None]:
    """Apply the batchable files of ``message``, each in its own transaction; returns what emits their events.

    Calls ``while_executing`` while the server executes it.
    """
    session.note_traces(*group)
    session.announcer.filename = group[0].filename
    session.run.position = None
    session.notices.start([migration.filename for migration in group])
    try:
        await _send_and(session, message, while_executing)
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        completed = session.notices.completed
        committed = await _roll_back_to(session, message)
        for migration in group[:committed]:
            session.record_applied(migration, durable=False)
        (await _events_of(session, group[:committed]))()
        raise_if_refused(error)
        failed, rest = group[committed], group[committed + 1 :]
        offset = _failed_at(session, error, message, committed, completed)
        if offset is not None and error.sqlstate not in RETRYABLE:
            await _raise_if_outdated(session, failed)
            if committed:
                _emit_started(session, failed)
            reason = located(error, failed, offset, await advise(session, error, failed))
            await report_failure(session, reason, attempt=1)
            raise reason from error
        session.notices.discard(failed.filename)
        # Either it was not one of the file's statements, or a lock was not available. None of the file was kept: run it
        # statement by statement, which shows what failed, and retries.
        if error.sqlstate in RETRYABLE:
            session.run.watch_locks()
        await apply_by_statement(session, failed)
        await apply_in_messages(session, rest)
        return _nothing
    session.run.is_clean = True
    for migration in group:
        session.record_applied(migration, durable=session.commits_synchronously(migration))
    return await _events_of(session, group)


def _failed_at(
    session: Session, error: asyncpg.PostgresError, message: Message, index: int, completed: int
) -> int | None:
    """The offset in the file ``index`` of ``message`` at which it failed; None if it was not one of its statements."""
    if error.position:
        where = message.locate(int(error.position) - 1)
        return where[1] if where is not None and where[0] is message.migrations[index] else None
    return message.statement_after(completed, index) if session.notices.is_counting else None


async def _send_and(session: Session, message: Message, while_executing: Callable[[], None]) -> None:
    sending = asyncio.ensure_future(session.send(message.text))
    try:
        try:
            # Let the task start, so that the message is sent.
            await asyncio.sleep(0)
        finally:
            while_executing()
        await sending
    finally:
        if not sending.done():
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _roll_back_to(session: Session, message: Message) -> int:
    """Roll back the failed part of ``message``, and return how many of its migrations were committed before."""
    session.notices.pause()
    try:
        committed = await _committed(session, message, message.cleanup)
    except asyncpg.InvalidSQLStatementNameError:
        # They could not be prepared, or one of the files has removed them.
        committed = await _committed(session, message, "")
    # The cleanup after a committed file belongs to the transaction of the next one, which was rolled back.
    await session.clean()
    return committed


async def _committed(session: Session, message: Message, cleanup: str) -> int:
    try:
        await session.send(statement("runner", "done", cleanup=cleanup))
    except asyncpg.InvalidTextRepresentationError as answer:
        return message.committed(str(answer))
    return 0


async def _raise_if_outdated(session: Session, migration: ParsedMigration) -> None:
    """Raise AlreadyAppliedError if another runner has applied ``migration``, HistoryLostError without a history.

    The probe misses it if the snapshot was taken before the lock, as in a serializable transaction.
    """
    applied = await session.applied()
    if applied.get(migration.filename) == migration.migration.checksum:
        raise AlreadyAppliedError


async def apply_by_statement(session: Session, migration: ParsedMigration) -> None:
    """Apply one file in one transaction, a message per statement or per group of them.

    Retried if a lock was not available.
    """
    await with_retries(session, partial(_attempt, session, (migration,)))


def require_transactional(parsed: Sequence[ParsedMigration]) -> None:
    """Raise ConfigurationError if one of ``parsed`` cannot run in a transaction."""
    for migration in parsed:
        if not migration.transactional:
            raise ConfigurationError(
                f'atomic="all" puts every pending migration into one transaction, and {migration.filename} cannot run '
                f"in one. Apply up to it first, with target=, or omit atomic.",
                "atomic",
            )


async def apply_all(session: Session, migrations: Sequence[ParsedMigration]) -> None:
    """Apply every one of ``migrations`` in one transaction: all or nothing."""
    if not session.announcer.has_listener and all(migration.batchable for migration in migrations):
        session.note_traces(*migrations)
        session.notices.start([migration.filename for migration in migrations])
        try:
            await session.send(compose_all(session.script, migrations))
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            await session.roll_back()
            await session.clean()
            for migration in migrations:
                session.notices.discard(migration.filename)
            raise_if_refused(error)
        else:
            for migration in migrations:
                session.record_applied(migration, durable=True)
            return
    await with_retries(session, partial(_attempt, session, migrations))


async def _attempt(session: Session, migrations: Sequence[ParsedMigration], number: int) -> None:
    """One attempt at ``migrations`` in one transaction."""
    script, announcer = session.script, session.announcer
    running: Sequence[Statement] = ()
    stage = ""
    current, previous = migrations[0], None
    started = time.perf_counter()
    synchronous_commit = session.commits_synchronously(migrations[-1])
    begin, sent_by_begin = transaction_modes(current)
    try:
        for current in migrations:
            announcer.emit("migration_started", current.filename, statements=len(current.statements))
            session.notices.start([current.filename])
            if number > 1:
                session.notices.discard(current.filename)
            if previous is None:
                await session.send(script.preamble(current, synchronous_commit=synchronous_commit, begin=begin))
            else:
                await session.send(script.next_preamble(current, previous))
            pace, position, total = Pace(), 0, len(current.statements)
            while position < total:
                running = pace.group(current.statements, position)
                announcer.emit("statement_started", current.filename, running[0].number, total)
                statement_started = time.perf_counter()
                if previous is not None or running[0].number not in sent_by_begin:
                    await session.send_group(current, running)
                took = time.perf_counter() - statement_started
                announcer.emit(
                    "statement_ended", current.filename, running[-1].number, total, execution_time_ms=took * 1000
                )
                if session.run.joins_statements:
                    pace.took(len(running), took)
                position += len(running)
            running, stage = (), RECORDING
            await session.send(script.record(current, continues=current is not migrations[-1]))
            stage, previous = "", current
        stage = COMMITTING
        # The cleanup is in the same message: through a transaction pooler, the next message may reach another session.
        await session.send(f"COMMIT;\n{script.cleanup(current)}" if script.leaves_traces(current) else "COMMIT")
        session.run.is_clean = True
    except MigrationExecutionError:
        # A verification query returned a row.
        await session.roll_back()
        await session.clean()
        raise
    except asyncpg.PostgresError as error:
        if is_lost(error):
            raise
        failed, offset = _failed_in(running, error, session.notices.completed)
        await session.roll_back()
        await session.clean()
        await session.discard_statements(current)
        if failed is None:
            raise_if_refused(error)
        await _raise_if_outdated(session, current)
        if failed is not None:
            stage = ""
        elif stage == RECORDING and str(error.sqlstate).startswith("23"):
            stage = DEFERRED
        advice = await advise(session, error, current, stage)
        raise execution_error(error, current, failed, offset, advice, stage=stage) from error
    for migration in migrations:
        await session.discard_statements(migration)
        session.record_applied(migration, durable=synchronous_commit)
        elapsed = (time.perf_counter() - started) * 1000
        announcer.emit("migration_ended", migration.filename, execution_time_ms=elapsed)


def _failed_in(
    running: Sequence[Statement], error: asyncpg.PostgresError, completed: int
) -> tuple[Statement | None, int]:
    """The statement of ``running`` that failed after ``completed`` others, and the offset in it."""
    if len(running) < 2:
        return (running[0] if running else None), offset_of(error)
    if error.position:
        offset = running[0].start + offset_of(error)
        for one in running:
            if one.start <= offset <= one.end:
                return one, offset - one.start
    return running[min(completed, len(running) - 1)], 0
