"""Files with ``-- pgdbm:no-transaction``, and ways back that have it: statement by statement, resumable.

Intent is written before each statement and the outcome after it. Where a statement may run in a transaction, the
outcome is written in its own, so that both are true or neither; of the others, which may have been done when a runner
died under them, the catalog is asked.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from ..core.identifiers import quote
from ..core.pool import is_alive, is_lost
from ..errors import MigrationError, MigrationExecutionError, MigrationUnknownError
from ..sql import statement as sql
from .failures import RETRYABLE, AlreadyAppliedError, execution_error, offset_of, retry_pauses
from .journal import StatementRecord, hash_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .parser import ParsedMigration, Statement
    from .session import Session

logger = logging.getLogger("pgdbm.migrations")

# Their own COMMIT is what they are there for.
_MAY_COMMIT = ("call_stmt", "do_stmt")


async def apply_without_transaction(session: Session, migration: ParsedMigration) -> None:
    """Apply ``migration``, or what an earlier run left of it, under a lock of the session.

    Raises:
        MigrationExecutionError: a statement failed; those before it stay done, and the next run goes on there.
        MigrationUnknownError: an earlier runner died under a statement, and nothing tells whether it was done.
        MigrationError: the part that is done was changed in the file, or a statement left an INVALID index.
    """
    connection, filename, checksum = session.connection, migration.filename, migration.migration.checksum
    async with _under_lock(session):
        recorded = (await session.history.applied(connection) or {}).get(filename)
        if recorded is not None and (not migration.migration.is_repeatable or recorded == checksum):
            raise AlreadyAppliedError
        session.announcer.say("migration_began", filename, statements=len(migration.statements))
        milliseconds = await _Resumable(session, migration).run()
        async with connection.transaction():
            await session.history.record(connection, filename, checksum, milliseconds)
            await session.journal.note(connection, filename, "finished")
        session.note_applied(migration, on_disk=True)
        session.announcer.say("migration_ended", filename, ms=milliseconds)


async def revert_without_transaction(session: Session, filename: str, way_back: ParsedMigration) -> None:
    """Take ``filename`` back by ``way_back``, or by what an earlier run left of it, under a lock of the session.

    Raises as :func:`apply_without_transaction`, and MigrationError where another session took it back meanwhile.
    """
    connection = session.connection
    async with _under_lock(session):
        if filename not in (await session.history.applied(connection) or {}):
            raise MigrationError(f"Another session reverted {filename} a moment ago.", filename)
        await _Resumable(session, way_back).run()
        async with connection.transaction():
            await session.history.forget(connection, filename)
            await session.journal.note(connection, filename, "reverted")


@asynccontextmanager
async def _under_lock(session: Session) -> AsyncIterator[None]:
    try:
        async with session.lock.held_by_session(session.connection):
            yield
    finally:
        # The settings of the session are the migration's: nobody else may find them on this connection.
        if is_alive(session.connection):
            await session.reset()


def _builds_index(running: Statement) -> bool:
    return running.traits.kind == "index_stmt" and running.traits.autocommit_only is not None


class _Resumable:
    """One file, and what the journal knows of its statements."""

    def __init__(self, session: Session, migration: ParsedMigration) -> None:
        self._session = session
        self._connection = session.connection
        self._journal = session.journal
        self._migration = migration
        self._filename = migration.filename
        self._wraps = not any(one.traits.controls_transaction for one in migration.statements)

    async def run(self) -> int:
        """Every statement that is not done yet; returns the milliseconds that they took."""
        began = time.perf_counter()
        await self._journal.create(self._connection)
        known = await self._journal.statements(self._connection, self._filename)
        self._check_done_part(known)
        await self._session.send(sql("runner", "session_settings"))
        for running in self._migration.statements:
            record = known.get(running.number)
            if record is None or record.outcome != "done":
                await self._with_retries(running, record)
        return round((time.perf_counter() - began) * 1000)

    def _check_done_part(self, known: dict[int, StatementRecord]) -> None:
        for record in known.values():
            if record.outcome == "failed":
                continue
            index = record.statement - 1
            statements = self._migration.statements
            text = self._migration.text_of(statements[index]) if index < len(statements) else ""
            if hash_of(text) != record.statement_hash:
                raise MigrationError(
                    f"{self._filename}: statement {record.statement} was "
                    f"{'done' if record.outcome == 'done' else 'begun'} by an earlier run and has been changed in the "
                    f"file since. Put it back as it was; what comes after it may be changed.",
                    self._filename,
                    details={"statement": record.statement},
                )

    async def _with_retries(self, running: Statement, record: StatementRecord | None) -> None:
        began = time.monotonic()
        attempt = record.attempt if record else 0
        for pause in retry_pauses():
            attempt += 1
            if record is None or record.outcome == "failed":
                again = record is not None
            elif await self._was_done(running):
                await self._journal.end(self._connection, record.id, "done")
                return
            else:
                again = True
            try:
                await self._run(running, attempt, again=again)
            except MigrationExecutionError as error:
                error.attempts = attempt
                if error.sqlstate not in RETRYABLE or time.monotonic() - began + pause > self._session.retry_for:
                    self._session.announcer.say(
                        "migration_failed",
                        self._filename,
                        running.number,
                        sqlstate=error.sqlstate,
                        message=error.sql_error,
                    )
                    raise
                self._session.announcer.say(
                    "retrying",
                    self._filename,
                    running.number,
                    attempt=attempt,
                    sqlstate=error.sqlstate,
                    message=error.sql_error,
                    pause_s=pause,
                )
                await asyncio.sleep(pause)
                record = (await self._journal.statements(self._connection, self._filename)).get(running.number)
            else:
                return

    async def _run(self, running: Statement, attempt: int, *, again: bool) -> None:
        """One attempt. ``again``: an earlier one of ours may have left something behind."""
        session, migration = self._session, self._migration
        text = migration.text_of(running)
        statement_hash = hash_of(text)
        if _builds_index(running):
            await self._clear_the_way(running, ours=again)
        elif again:
            text = await self._to_go_on(running, text)
        entry = await self._journal.begin(self._connection, self._filename, running.number, statement_hash, attempt)
        session.announcer.say("statement_began", self._filename, running.number, len(migration.statements))
        began = time.perf_counter()
        composer = session.composer
        head = ""
        if self._runs_in_transaction(running):
            head = f"BEGIN;\n{composer.enter_role};\n" if composer.enter_role else "BEGIN;\n"
        try:
            if head:
                back = f"{composer.leave_role};\n" if composer.leave_role else ""
                await session.send(f"{head}{text}\n;\n{back}{self._journal.end_in_transaction(entry)};\nCOMMIT")
            else:
                async with self._as_role():
                    await session.send(text)
                await self._check_index(running)
                await self._journal.end(self._connection, entry, "done")
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            await session.roll_back()
            reason = execution_error(error, migration, running, offset_of(error) - len(head))
            await self._journal.end(self._connection, entry, "failed", reason.sqlstate, reason.sql_error)
            raise reason from error
        except MigrationError as error:
            await self._journal.end(self._connection, entry, "failed", None, error.message)
            raise
        session.announcer.say(
            "statement_ended",
            self._filename,
            running.number,
            len(migration.statements),
            ms=(time.perf_counter() - began) * 1000,
        )

    @asynccontextmanager
    async def _as_role(self) -> AsyncIterator[None]:
        composer = self._session.composer
        if not composer.enter_role_of_session:
            yield
            return
        await self._session.send(composer.enter_role_of_session)
        try:
            yield
        finally:
            if is_alive(self._connection):
                # A statement like CALL may have left a transaction open in which nothing more can be said.
                await self._session.roll_back()
                await self._session.send(composer.leave_role)

    def _runs_in_transaction(self, running: Statement) -> bool:
        traits = running.traits
        return self._wraps and traits.autocommit_only is None and traits.kind not in _MAY_COMMIT

    async def _was_done(self, running: Statement) -> bool:
        """Whether a statement that was begun, and whose runner died, was done.

        Raises:
            MigrationUnknownError: nothing tells.
        """
        traits = running.traits
        if self._runs_in_transaction(running):
            return False  # its outcome is committed together with it, so it is not
        if traits.repeats_safely:
            return False  # nobody knows, and it does not matter
        match traits.kind:
            case "index_stmt" if traits.concerns[2] is not None:
                state = await self._index_state(running)
                return state is not None and bool(state["valid"])
            case "alter_table_stmt":
                partition = await self._connection.fetchrow(self._journal.sql("partition"), *traits.concerns)
                return partition is None
            case "drop_stmt":
                return not await self._connection.fetchval(self._journal.sql("relation_exists"), *traits.concerns)
            case "createdb_stmt" | "dropdb_stmt":
                exists = await self._connection.fetchval(self._journal.sql("database_exists"), *traits.concerns)
                return bool(exists) == (traits.kind == "createdb_stmt")
        line, column = self._migration.position(running.start)
        raise MigrationUnknownError(
            f"{self._filename}:{line}:{column}: statement {running.number}: an earlier run died while it ran, and "
            f"nothing tells whether it was done. Look at the database; then say so with "
            f"resolve_statement({self._filename!r}, {running.number}, done=True) or done=False, and run again.",
            self._filename,
            statement=running.number,
            line=line,
        )

    async def _to_go_on(self, running: Statement, text: str) -> str:
        """What to run instead of ``text`` where an earlier attempt got half of the way."""
        if running.traits.kind == "reindex_stmt" and running.traits.concerns:
            await self._drop_leftovers(running)
        if running.traits.kind != "alter_table_stmt" or running.traits.autocommit_only is None:
            return text
        partition = await self._connection.fetchrow(self._journal.sql("partition"), *running.traits.concerns)
        if partition is not None and partition["pending"]:
            parent, child = running.traits.concerns
            return f"ALTER TABLE {parent} DETACH PARTITION {child} FINALIZE"
        return text

    async def _drop_leftovers(self, running: Statement) -> None:
        """Before REINDEX CONCURRENTLY: the INVALID copies of an earlier attempt, which it would pass over."""
        for row in await self._connection.fetch(self._journal.sql("reindex_leftovers"), *running.traits.concerns):
            name = f"{quote(row['schema'])}.{quote(row['name'])}"
            logger.info("Dropping the INVALID index %s that an earlier attempt left", name)
            await self._session.send(f"DROP INDEX CONCURRENTLY {name}")

    async def _index_state(self, running: Statement) -> asyncpg.Record | None:
        schema, table, index = running.traits.concerns
        if index is None:
            return None
        if schema is None:
            schema = await self._connection.fetchval(self._journal.sql("schema_of"), quote(table or ""))
        row: asyncpg.Record | None = await self._connection.fetchrow(self._journal.sql("index_state"), schema, index)
        return row

    async def _clear_the_way(self, running: Statement, *, ours: bool) -> None:
        """Before CREATE INDEX CONCURRENTLY: an INVALID index of that name is dropped if it is our own."""
        state = await self._index_state(running)
        if state is None or state["valid"]:
            return
        schema, _table, index = running.traits.concerns
        assert index is not None
        name = f"{quote(schema)}.{quote(index)}" if schema else quote(index)
        if not ours:
            line, column = self._migration.position(running.start)
            raise MigrationError(
                f"{self._filename}:{line}:{column}: there is an INVALID index {name} on {state['table_name']} that "
                f"this migration did not make: somebody else's CREATE INDEX CONCURRENTLY "
                f"{'is under way' if state['being_built'] else 'failed'}. "
                f"{'Wait for it' if state['being_built'] else f'DROP INDEX CONCURRENTLY {name}'}, then run again.",
                self._filename,
                details={"statement": running.number, "line": line, "column": column},
            )
        logger.info("Dropping the INVALID index %s that an earlier attempt left", name)
        await self._session.send(f"DROP INDEX CONCURRENTLY {name}")

    async def _check_index(self, running: Statement) -> None:
        """After CREATE INDEX CONCURRENTLY: IF NOT EXISTS is content with an INVALID index; we are not."""
        if not _builds_index(running):
            return
        state = await self._index_state(running)
        if state is not None and not state["valid"]:
            raise MigrationError(
                f"{self._filename}: statement {running.number} left an INVALID index {running.traits.concerns[2]}.",
                self._filename,
                details={"statement": running.number},
            )
