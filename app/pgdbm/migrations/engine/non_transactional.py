"""Applies and reverts files with ``-- pgdbm:no-transaction``: step by step, resumable.

The journal records the start of each step before it runs, and its end afterwards. The end of a step that can run in a
transaction is committed with the step. If a runner dies during any other step, the catalog shows whether the step took
effect.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import asyncpg

from ...core.asyncpg_errors import is_lost
from ...core.connection import in_transaction
from ...errors import MigrationError, MigrationUnknownError
from ...sql import statement as sql
from ..state.history import require_own_table
from ..state.journal import OUTSIDE, hash_of
from .advice import RECORDING_LATER, advise
from .copy_rows import require_one_statement
from .execution_errors import AlreadyAppliedError, execution_error, offset_of
from .indexes import Indexes, builds_index
from .recording import recording, recording_failure
from .resuming import require_unchanged, restore_session
from .retries import with_retries
from .run import Position
from .session import NO_TIMEOUT_S
from .steps import steps_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement
    from ..state.journal import StatementRecord
    from .session import Session
    from .steps import Part, Step

logger = logging.getLogger("pgdbm.migrations")

# These files exist in order to commit.
_MAY_COMMIT = ("call_stmt", "do_stmt")
_INSIDE_TRANSACTION_BLOCK = "25001"
_SYNTAX_ERROR = "42601"
_DEALLOCATES = re.compile("deallocate", re.IGNORECASE)
_UNLOCKS = re.compile("advisory_unlock_all", re.IGNORECASE)


async def apply_without_transaction(session: Session, migration: ParsedMigration) -> None:
    """Apply ``migration``, or the rest of it if an earlier run stopped, under a session lock.

    Raises:
        MigrationExecutionError: a statement failed. Those before it remain applied, and the next run resumes there.
        MigrationUnknownError: an earlier runner died during a statement, and its outcome cannot be determined.
        MigrationError: the applied part of the file was changed, its session cannot be restored, or a statement left
            an INVALID index.
    """
    connection, filename, checksum = session.connection, migration.filename, migration.migration.checksum
    async with session.under_lock():
        recorded = (await session.applied_before(filename)).get(filename)
        if recorded is not None and (not migration.migration.is_repeatable or recorded == checksum):
            raise AlreadyAppliedError
        session.announcer.emit("migration_started", filename, statements=len(migration.statements))
        session.notices.start([filename])
        file = ResumableFile(session, migration)
        milliseconds = await file.run()
        async with file.recording_end(), file.as_ourselves(), in_transaction(connection):
            await require_own_table(connection, session.history.table, session.script.role)
            await session.history.record(connection, filename, checksum, milliseconds)
            await session.journal.record(connection, filename, "finished")
        session.record_applied(migration, durable=True)
        session.announcer.emit("migration_ended", filename, execution_time_ms=milliseconds)


async def revert_without_transaction(session: Session, filename: str, down: ParsedMigration) -> None:
    """Revert ``filename`` with ``down``, or the rest of it if an earlier run stopped, under a session lock.

    Raises the same as :func:`apply_without_transaction`, and MigrationError if another session has reverted it.
    """
    connection = session.connection
    async with session.under_lock():
        if filename not in (await session.history.applied(connection) or {}):
            raise MigrationError(f"Another session has just reverted {filename}.", filename)
        file = ResumableFile(session, down)
        await file.run()
        session.run.position = None
        async with file.recording_end(), file.as_ourselves(), in_transaction(connection):
            await require_own_table(connection, session.history.table, session.script.role)
            await session.history.delete(connection, filename)
            await session.journal.record(connection, filename, "reverted")


class ResumableFile:
    """One file without a transaction, and its records in the journal."""

    def __init__(self, session: Session, migration: ParsedMigration) -> None:
        self._session = session
        self._connection = session.connection
        self._journal = session.journal
        self._migration = migration
        self._filename = migration.filename
        self._indexes = Indexes(session, migration)
        self._sent: Part | None = None
        # The journal's entry of the last statement, and that of one whose end is not recorded yet.
        self._entry = 0
        self._unrecorded: int | None = None
        # Whether the session's current user may differ from the connecting user.
        self._has_other_user = session.script.leaves_traces(migration)

    async def run(self) -> int:
        """Run every step that is not applied yet. Returns milliseconds."""
        started = time.perf_counter()
        steps = steps_of(self._migration)
        async with recording(self._session, self._migration):
            await self._journal.create(self._connection)
        known = await self._journal.statements(self._connection, self._filename)
        require_unchanged(self._migration, steps, known)
        await self._session.send(self._session.script.session_settings)
        await restore_session(self._session, self._migration, steps, known)
        for step in steps:
            record = known.get(step.number)
            if record is None or record.event != "applied":
                await self._run_with_retries(step, record)
        return round((time.perf_counter() - started) * 1000)

    def recording_end(self) -> AbstractAsyncContextManager[None]:
        """A block that writes that every statement has run."""
        return recording(self._session, self._migration, RECORDING_LATER)

    @asynccontextmanager
    async def as_ourselves(self) -> AsyncIterator[None]:
        """Run the block as the connecting user, in a transaction if the file may have set another one."""
        if not self._has_other_user:
            yield
            return
        async with in_transaction(self._connection):
            await self._session.send(f"{sql('runner', 'read_write')};\n{sql('runner', 'own_user')}")
            yield

    async def _run_with_retries(self, step: Step, record: StatementRecord | None) -> None:
        if record is not None and record.event != "failed":
            if await self._took_effect(step, record):
                async with recording(self._session, self._migration), self.as_ourselves():
                    await self._journal.end(self._connection, record.id, "applied")
                return
            again = True
        else:
            again = record is not None
        before = record.attempt if record else 0
        started = time.perf_counter()
        await with_retries(
            self._session, partial(self._attempt, step, again, before + 1), attempts_before=before, journalled=True
        )
        # Not in an attempt: whatever fails here, the statement has taken effect, and must not run again.
        await self._record_success(step)
        self._session.announcer.emit(
            "statement_ended",
            self._filename,
            step.number,
            len(self._migration.statements),
            execution_time_ms=(time.perf_counter() - started) * 1000,
        )

    def _recording(self, step: Step) -> AbstractAsyncContextManager[None]:
        stage = (
            f"Statement {step.number} took effect, but the engine could not write that to its journal. If the next run "
            f"cannot find it out either, call resolve_statement({self._filename!r}, {step.number}, done=True)."
        )
        return recording(self._session, self._migration, stage)

    async def _record_success(self, step: Step) -> None:
        entry = self._unrecorded
        if entry is not None:
            async with self._recording(step), self.as_ourselves():
                await self._journal.end(self._connection, entry, "applied", with_session=step.changes_session)
        await self._after(step)

    async def _attempt(self, step: Step, again: bool, first: int, attempt: int) -> None:
        again = again or attempt > first
        in_transaction = _runs_in_transaction(step)
        try:
            await self._run(step, attempt, again=again, in_transaction=in_transaction)
        except _OutsideOnlyError:
            await self._run(step, attempt, again=again, in_transaction=False)

    async def _run(self, step: Step, attempt: int, *, again: bool, in_transaction: bool) -> None:
        """One attempt. ``again``: an earlier attempt may have left something behind."""
        session, migration, running = self._session, self._migration, step.first
        text = step.text
        if builds_index(running):
            await self._indexes.drop_invalid(running, ours=again)
        elif again:
            text = await self._indexes.prepare_retry(running, text)
        async with recording(session, migration, resumes_at=step.number), self.as_ourselves():
            entry = await self._journal.begin(
                self._connection,
                self._filename,
                step.number,
                hash_of(step.content),
                attempt,
                message=None if in_transaction or step.is_block else OUTSIDE,
            )
        session.announcer.emit("statement_started", self._filename, step.number, len(migration.statements))
        head = "BEGIN;\n" if in_transaction and not step.is_block else ""
        end = self._end_in_transaction(entry, step)
        session.run.position = Position(migration, step.number, step.number)
        try:
            await self._require_statements(step)
            await self._send(step, text, head, end)
            if step.before_end is None and not head:
                await self._indexes.check(running)
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            failed, offset = self._failed_in(step, error, head)
            await session.roll_back()
            advice = await advise(session, error, migration)
            reason = execution_error(error, migration, failed, offset, advice, resumes_at=step.number)
            with recording_failure(migration):
                async with self.as_ourselves():
                    await self._journal.end(self._connection, entry, "failed", reason.sqlstate, reason.sql_error)
            if head and error.sqlstate == _INSIDE_TRANSACTION_BLOCK:
                raise _OutsideOnlyError from error
            raise reason from error
        except MigrationError as error:
            with recording_failure(migration):
                async with self.as_ourselves():
                    await self._journal.end(self._connection, entry, "failed", None, str(error))
            raise
        self._entry = entry
        self._unrecorded = None if step.before_end is not None or head else entry

    async def _send(self, step: Step, text: str, head: str, end: str) -> None:
        """Run ``text``; ``end`` at the end of its transaction. ``head`` begins one if the file does not."""
        session, migration, parts = self._session, self._migration, step.parts(text)
        for part in parts:
            self._sent = part
            if part.copy is not None:
                if head:
                    await session.send(head)
                await session.send_statement(migration, part.copy)
                if head:
                    await session.send(f"{end};\nCOMMIT")
            elif head:
                await session.send_text(migration, f"{head}{part.text}\n;\n{end};\nCOMMIT")
            elif step.before_end is not None and part is parts[-1]:
                before_end = step.before_end - part.start
                await session.send_text(migration, f"{part.text[:before_end]}{end};\n{part.text[before_end:]}")
            else:
                await session.send_text(migration, part.text)

    def _failed_in(self, step: Step, error: asyncpg.PostgresError, head: str) -> tuple[Statement, int]:
        """The statement of ``step`` that failed, and the offset in its text."""
        part = self._sent
        if part is None:
            return step.first, 0
        if part.copy is not None:
            return part.copy, offset_of(error)
        if error.position or not step.is_block or not self._session.notices.is_counting:
            return step.at(part.start + max(offset_of(error) - len(head), 0))
        index = part.first + self._session.notices.completed
        return step.statements[min(index, len(step.statements) - 1)], 0

    async def _require_statements(self, step: Step) -> None:
        """Raise MigrationExecutionError if the server does not read each opaque statement of ``step`` as one."""
        for one in step.statements:
            if not one.traits.is_opaque:
                continue
            try:
                await require_one_statement(self._connection, self._migration.text_of(one), NO_TIMEOUT_S)
            except asyncpg.PostgresError as error:
                if is_lost(error):
                    raise
                # Other errors, such as a table that the step itself creates, are reported when it runs.
                if error.sqlstate == _SYNTAX_ERROR:
                    advice = await advise(self._session, error, self._migration)
                    at = offset_of(error)
                    raise execution_error(error, self._migration, one, at, advice, resumes_at=step.number) from error

    def _end_in_transaction(self, entry: int, step: Step) -> str:
        parts = [sql("runner", "fire_deferred")]
        if self._session.script.role is not None:
            parts.append(sql("runner", "close_cursors"))
        if self._has_other_user:
            parts.append(sql("runner", "own_user"))
        # A block of the file may use SET LOCAL, which has no effect after the COMMIT of the block.
        with_session = step.changes_session and not step.is_block
        parts.append(self._journal.end_in_transaction(entry, with_session=with_session))
        return ";\n".join(parts)

    async def _after(self, step: Step) -> None:
        if step.is_block and step.changes_session:
            async with self._recording(step), self.as_ourselves():
                await self._journal.keep_session_state(self._connection, self._entry)
        if _DEALLOCATES.search(step.text):
            await self._connection.reload_schema_state()
        if _UNLOCKS.search(step.text) and not await self._session.lock.take(self._connection):
            raise MigrationError(
                f"{self._filename}: statement {step.number} released this migration's lock, and another runner has "
                f"taken it. Release locks one by one, with pg_advisory_unlock.",
                self._filename,
            )

    async def _took_effect(self, step: Step, record: StatementRecord) -> bool:
        """Whether a step took effect that was running when its runner died.

        Raises:
            MigrationUnknownError: that cannot be determined.
        """
        traits = step.traits
        if commits_its_end(step, record):
            return False
        if traits.idempotent and not step.is_block:
            return False  # running it again does no harm
        match traits.kind:
            case "index_stmt" if traits.target[2] is not None:
                state = await self._indexes.state(step.first)
                return state is not None and bool(state["valid"])
            case "alter_table_stmt":
                partition = await self._connection.fetchrow(self._journal.sql("partition"), *traits.target)
                return partition is None
            case "drop_stmt":
                return not await self._connection.fetchval(self._journal.sql("relation_exists"), *traits.target)
            case "createdb_stmt" | "dropdb_stmt":
                exists = await self._connection.fetchval(self._journal.sql("database_exists"), *traits.target)
                return bool(exists) == (traits.kind == "createdb_stmt")
        line, column = self._migration.position(step.first.start)
        raise MigrationUnknownError(
            f"{self._filename}:{line}:{column}: statement {step.number}: an earlier run died while it was running, and "
            f"whether it took effect cannot be determined. Check the database, call "
            f"resolve_statement({self._filename!r}, {step.number}, done=True) or done=False, and run again.",
            self._filename,
            statement=step.number,
            line=line,
            column=column,
        )


class _OutsideOnlyError(Exception):
    """The server does not run the statement inside a transaction block."""


def commits_its_end(step: Step, record: StatementRecord) -> bool:
    """Whether the end of ``step``, whose start is ``record``, is committed with it: without one, it did not take
    effect.
    """
    return step.before_end is not None or (_runs_in_transaction(step) and record.message != OUTSIDE)


def _runs_in_transaction(step: Step) -> bool:
    if step.is_block:
        return step.before_end is not None
    traits = step.traits
    refuses = traits.non_transactional is not None or traits.may_refuse_transaction or traits.controls_transaction
    return not refuses and traits.kind not in _MAY_COMMIT
