"""Applies files with ``-- pgdbm:backfill``: batch by batch, resumable.

The position is written in the transaction of each batch: each row is processed once, even if the runner is killed.
Between two batches it waits while it is paused, or while the database is busy.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from ...core.asyncpg_errors import is_lost
from ...core.connection import in_transaction
from ...errors import MigrationExecutionError, MigrationFileError
from ...pgparse.lexer import statement_spans
from ...sql import statement
from ..backfill.conditions import Conditions, Limits, ReplayLag
from ..backfill.pace import Pace
from ..backfill.records import BackfillRecords, counting
from ..backfill.walk import NextBatch, UnwalkableError, Walk, walk_of
from ..state.history import require_own_table
from ..state.journal import hash_of
from ..state.lock import MigrationLock
from .advice import RECORDING_LATER, advise
from .execution_errors import AlreadyAppliedError, execution_error, offset_of, raise_if_refused
from .options import milliseconds_of
from .recording import recording, recording_failure
from .retries import RETRYABLE, with_retries
from .run import Position
from .session import as_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...core.manager import AsyncDatabaseManager
    from ..backfill.records import BeforeBatch, Cursor
    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement
    from .session import Session

logger = logging.getLogger("pgdbm.migrations")

_FIRST_CHECK_S = 0.05
_LONGEST_CHECK_S = 2.0
_REPORT_EVERY_S = 0.25
_LAST_NAME = re.compile(r'(?:"((?:[^"]|"")+)"|(\w+))\Z')


async def require_walks(db: AsyncDatabaseManager, parsed: Sequence[ParsedMigration]) -> None:
    """Refuse a backfill whose table cannot be walked, unless an earlier file may change that.

    Raises:
        MigrationFileError: with the line of the header.
    """
    for index, migration in enumerate(parsed):
        if migration.backfill is None:
            continue
        name = _LAST_NAME.search(migration.backfill.table)
        word = (name[1] or name[2]) if name is not None else ""
        if any(word in earlier.rendered.text for earlier in parsed[:index]):
            # An earlier file may create the table or the index.
            continue
        async with db.acquire() as connection:
            await require_walk(connection, migration)


async def require_walk(connection: Any, migration: ParsedMigration) -> Walk:
    """The walk of a backfill. Raises MigrationFileError if the table cannot be walked."""
    backfill = migration.backfill
    assert backfill is not None
    try:
        walk = await walk_of(connection, backfill.table, backfill.key)
        if walk is None:
            raise UnwalkableError(f"there is no table {backfill.table}.")
    except UnwalkableError as error:
        content = migration.migration.content
        line = content.count("\n", 0, backfill.offset) + 1
        raise MigrationFileError(
            f"{migration.filename}:{line}:1: {error}", migration.filename, line=line, column=1
        ) from None
    return walk


async def in_one_batch(connection: Any, migration: ParsedMigration) -> str | None:
    """The statement of a backfill for all rows of the table; None if it is empty. Raises the same as
    :func:`require_walk`."""
    walk = await require_walk(connection, migration)
    keys = await walk.both_keys(connection)
    if keys is None or migration.backfill is None:
        return None
    first, last = (walk.bound(json.loads(key)) for key in keys)
    statement = migration.statements[0]
    return migration.backfill.between(migration.text_of(statement), statement.start, first, last).text


def lock_of(lock: MigrationLock, schema: str, module: str, migration: ParsedMigration) -> MigrationLock:
    """The lock of a backfill: its own if other files are applied while it runs, else the module's, ``lock``."""
    if migration.backfill is None or not migration.backfill.in_background:
        return lock
    return MigrationLock(schema, f"{module}\x00{migration.filename}", lock.wait_timeout)


async def apply_backfill(session: Session, migration: ParsedMigration) -> None:
    """Apply ``migration``, or the rest of it if an earlier run stopped, under a session lock.

    Raises:
        MigrationExecutionError: a batch failed, or its verification found rows. The
            batches before it remain applied, and the next run resumes there.
        MigrationFileError: the table cannot be walked.
        MigrationError: the table or key in the header differs from when the backfill started.
    """
    connection, history, filename = session.connection, session.history, migration.filename
    session = session._replace(lock=lock_of(session.lock, history.schema, history.module, migration))
    async with session.under_lock():
        # While one runs in the background, other files are applied.
        in_background = migration.backfill is not None and migration.backfill.in_background
        if filename in await (session.applied() if in_background else session.applied_before(filename)):
            raise AlreadyAppliedError
        session.announcer.emit("migration_started", filename, statements=len(migration.statements))
        session.notices.start([filename])
        started = time.perf_counter()
        run = BackfillRun(session, migration, await require_walk(connection, migration))
        await run.to_the_end()
        milliseconds = round((time.perf_counter() - started) * 1000)
        async with recording(session, migration, RECORDING_LATER), in_transaction(connection):
            await session.send(statement("runner", "own_user"))
            await require_own_table(connection, history.table, session.script.role)
            await history.record(connection, filename, migration.migration.checksum, milliseconds)
            await run.records.end(connection, filename, run.rows_per_s)
            await session.journal.record(connection, filename, "finished")
        session.record_applied(migration, durable=True)
        session.announcer.emit("migration_ended", filename, execution_time_ms=milliseconds)


class BackfillRun:
    """The batches of one backfill."""

    def __init__(self, session: Session, migration: ParsedMigration, walk: Walk) -> None:
        backfill = migration.backfill
        assert backfill is not None
        self._session = session
        self._connection = session.connection
        self._migration = migration
        self._filename = migration.filename
        self._backfill = backfill
        self._statement = migration.statements[0]
        self._walk = walk
        self._limits = Limits(backfill.max_lag_s, backfill.max_lag_bytes, backfill.waits_for_vacuum)
        self._replay_lag = ReplayLag()
        self._begin = self._beginning()
        self._statements_before = sum(1 for _ in statement_spans(self._begin))
        self._is_countable = True
        self._reported_at = 0.0
        self._warned = False
        self.rows_per_s: float | None = None
        self.records = BackfillRecords(session.history.schema, session.history.module)

    async def to_the_end(self) -> None:
        """Run every batch that has not run yet, then the verification queries."""
        connection, journal = self._connection, self._session.journal
        async with recording(self._session, self._migration):
            await journal.create(connection, self.records.creation)
        await require_own_table(connection, self.records.table, self._session.script.role)
        await self._session.send(self._session.script.session_settings)
        async with recording(self._session, self._migration):
            before = (await journal.statements(connection, self._filename)).get(1)
            cursor, first = await self.records.start(connection, self._filename, self._walk, self._backfill.batch)
            entry = await journal.begin(
                connection, self._filename, 1, hash_of(self._text()), before.attempt + 1 if before else 1
            )
        try:
            await self._walk_to_the_end(cursor, first)
            await self._verify()
        except MigrationExecutionError as error:
            with recording_failure(self._migration):
                await journal.end(connection, entry, "failed", error.sqlstate, error.sql_error)
            raise
        async with recording(self._session, self._migration):
            await journal.end(connection, entry, "applied")

    async def _verify(self) -> None:
        """Run the queries that must return no row, each in its own transaction."""
        session, migration, total = self._session, self._migration, len(self._migration.statements)
        for query in migration.statements:
            if query.number not in migration.queries:
                continue
            session.announcer.emit("statement_started", self._filename, query.number, total)
            started = time.perf_counter()
            try:
                async with in_transaction(self._connection), as_role(self._connection, session.script.role):
                    await session.send_statement(migration, query)
            except asyncpg.PostgresError as error:
                if is_lost(error):
                    raise
                advice = await advise(session, error, migration)
                raise execution_error(error, migration, query, offset_of(error), advice) from error
            milliseconds = (time.perf_counter() - started) * 1000
            session.announcer.emit(
                "statement_ended", self._filename, query.number, total, execution_time_ms=milliseconds
            )

    async def _walk_to_the_end(self, cursor: Cursor, found: BeforeBatch | None) -> None:
        total = len(self._migration.statements)
        emit = partial(self._session.announcer.emit, filename=self._filename, statement=1, statements=total)
        pace = Pace(cursor.batch_rows, self._backfill.target_s, self._backfill.pause_s, self._backfill.rate)
        emit("statement_started")
        started = time.perf_counter()
        follows_batch = False
        asked = self._backfill.batch
        while cursor.last_key is not None:
            if found is None:
                asked = pace.rows
                found = await self.records.next(self._connection, self._filename, self._walk, cursor, asked)
            (conditions, have_waited, batch), found = found, None
            conditions = self._replay_lag.corrected(conditions, time.monotonic())
            if follows_batch:
                self._report(cursor, pace)
                if have_waited:
                    pace.halve()
                    conditions = conditions._replace(waiters=max(conditions.waiters, have_waited))
            follows_batch = False
            self._obey(pace, conditions)
            if await self._has_waited(conditions) or pace.rows < asked:
                continue
            if batch is None:
                break
            await self._run_with_retries(cursor, batch, pace)
            if batch.last == cursor.last_key:
                if self._session.announcer.has_listener:
                    cursor.changed_rows = await self.records.changed_rows(self._connection, self._filename)
                break
            follows_batch = True
            await self._pause(pace, batch.rows, pace.last_s)
        self._report(cursor, pace, is_last=True)
        self.rows_per_s = pace.rows_per_s(time.perf_counter()) or None
        emit("statement_ended", execution_time_ms=(time.perf_counter() - started) * 1000)

    async def _run_with_retries(self, cursor: Cursor, batch: NextBatch, pace: Pace) -> None:
        async def attempt(number: int) -> None:
            try:
                await self._run(cursor, batch, pace)
            except MigrationExecutionError as error:
                if error.sqlstate in RETRYABLE:
                    await self._session.journal.record(
                        self._connection,
                        self._filename,
                        "retried",
                        statement=1,
                        attempt=number,
                        sqlstate=error.sqlstate,
                        message=error.sql_error,
                    )
                raise

        await with_retries(self._session, attempt, journalled=True)

    async def _run(self, cursor: Cursor, batch: NextBatch, pace: Pace) -> None:
        """One attempt at a batch: its transaction is one message, so that no row is locked for a round trip."""
        session = self._session
        first, last = (self._walk.bound(json.loads(key)) for key in (batch.first, batch.last))
        bound = self._backfill.between(self._text(), self._statement.start, first, last)
        before, after = counting(returns=self._backfill.returns) if self._is_countable else ("", "")
        opening = f"{self._begin};\n{before}"
        move = partial(self.records.move, self._filename, cursor, batch)
        rows_per_s = pace.rows_per_s(time.perf_counter())
        running: Statement | None = self._statement
        started = time.perf_counter()
        try:
            session.note_traces(self._migration)
            session.run.position = Position(self._migration, 1, 1, str(cursor.position))
            if self._is_countable:
                end = move(None, rows_per_s)
                await session.send(f"{opening}{bound.text}{after};\n{session.script.closing()};\n{end};\nCOMMIT")
            else:
                # The message's command tag is that of its last statement, with the number of rows.
                tag: str = await session.execute(f"{opening}{bound.text}")
                running = None
                end = move(int(tag.rpartition(" ")[2]), rows_per_s)
                await session.send(f"{session.script.closing()};\n{end};\nCOMMIT")
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            if self._is_countable:
                running = self._running(error, len(opening), len(bound.text))
            await session.roll_back()
            if running is None:
                raise_if_refused(error)
            elif self._is_countable and isinstance(error, asyncpg.FeatureNotSupportedError):
                # A part of a query cannot change a view with rules, or have such a part itself.
                self._is_countable = False
                await self._run(cursor, batch, pace)
                return
            offset = bound.offset_in_file(max(offset_of(error) - len(opening), 0))
            advice = await advise(session, error, self._migration)
            raise execution_error(error, self._migration, running, offset, advice) from error
        pace.took(batch.rows, time.perf_counter() - started, time.perf_counter())
        cursor.position = batch.last
        cursor.processed_rows += batch.rows
        cursor.batches += 1

    def _running(self, error: asyncpg.PostgresError, start: int, length: int) -> Statement | None:
        """The statement of the file if the message of a batch, in which it is at ``start``, has failed there."""
        if error.position:
            return self._statement if start <= offset_of(error) <= start + length else None
        notices = self._session.notices
        return None if notices.is_counting and notices.completed > self._statements_before else self._statement

    def _obey(self, pace: Pace, conditions: Conditions) -> None:
        if conditions.rate is not None:
            pace.limit(conditions.rate or None)
        if conditions.hidden_standbys and self._backfill.max_lag_s is not None and not self._warned:
            self._warned = True
            logger.warning(
                "%s: the lag of the standbys is hidden from this user, so it is not waited for. Let a "
                "superuser run: GRANT "
                "pg_read_all_stats TO …, or write max_lag=off.",
                self._filename,
            )

    async def _has_waited(self, conditions: Conditions) -> bool:
        """Return when there is no reason to wait, and whether there was. A reason that no longer holds at the first
        check is not reported."""
        shown: str | None = None
        pause_s = _FIRST_CHECK_S
        is_first = True
        while (reason := self._limits.reason_to_wait(conditions)) is not None:
            if not is_first and reason[0] != shown:
                shown = reason[0]
                await self.records.wait(self._connection, self._filename, reason[1])
                self._emit_waiting(*reason)
            await asyncio.sleep(pause_s)
            is_first, pause_s = False, min(pause_s * 2, _LONGEST_CHECK_S)
            conditions = await self._read_conditions()
        if shown is not None:
            await self.records.wait(self._connection, self._filename, None)
            self._emit_waiting(None, None)
        return not is_first

    async def _read_conditions(self) -> Conditions:
        conditions = await self.records.read(self._connection, self._filename, self._walk)
        return self._replay_lag.corrected(conditions, time.monotonic())

    async def _pause(self, pace: Pace, rows: int, seconds: float) -> None:
        pause_s = pace.pause_after(rows, seconds)
        if pace.is_slow:
            target_ms = self._backfill.target_s * 1000
            self._emit_waiting("slow_batch", f"a batch took {seconds * 1000:.0f} ms, with a target of {target_ms:g} ms")
        if pause_s:
            await asyncio.sleep(pause_s)
        if pace.is_slow:
            self._emit_waiting(None, None)

    def _emit_waiting(self, reason: str | None, message: str | None) -> None:
        self._session.announcer.emit("backfill_waiting", self._filename, reason=reason, message=message)
        if message is not None:
            logger.info("%s waits: %s", self._filename, message)

    def _report(self, cursor: Cursor, pace: Pace, *, is_last: bool = False) -> None:
        now = time.perf_counter()
        if not is_last and now - self._reported_at < _REPORT_EVERY_S:
            return
        self._reported_at = now
        rate, total, walked = pace.rows_per_s(now), cursor.total_rows, cursor.processed_rows
        left = None if total is None else max(total - walked, 0)
        percent = 100.0 if is_last else None if not total else round(min(100 * walked / total, 99.9), 1)
        self._session.announcer.emit(
            "progress",
            self._filename,
            1,
            len(self._migration.statements),
            command="BACKFILL",
            phase=f"{walked:,} rows, {rate:,.0f} a second",
            percent=percent,
            rows=walked,
            changed_rows=cursor.changed_rows,
            total_rows=total,
            rows_per_s=round(rate, 1),
            seconds_left=0.0 if is_last else None if left is None or not rate else round(left / rate, 1),
            batch_rows=pace.rows,
        )

    def _text(self) -> str:
        return self._migration.text_of(self._statement)

    def _beginning(self) -> str:
        lock_timeout = self._session.run.lock_timeout
        settings = "" if lock_timeout is None else f";\nSET LOCAL lock_timeout = {milliseconds_of(lock_timeout)}"
        entering = self._session.script.entering()
        return statement("backfill", "begin", settings=f"{settings};\n{entering}" if entering else settings)
