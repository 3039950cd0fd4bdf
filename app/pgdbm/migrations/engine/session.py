"""The session that migrates."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from ...core.asyncpg_errors import FAILURES, is_alive
from ...core.connection import UTF8
from ...core.templating import quote
from ...sql import statement
from .copy_rows import send_statement
from .execution_errors import AlreadyAppliedError, HistoryLostError
from .plan_guard import history_digest
from .run import Position
from .script import clean_session
from .verification import require_no_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ...core.connection import Connection
    from ..sources.parser import ParsedMigration
    from ..sources.statements import Statement
    from ..state.history import History
    from ..state.journal import Journal
    from ..state.lock import MigrationLock
    from .announcer import Announcer
    from .notices import NoticeCollector
    from .run import Run
    from .script import ScriptBuilder

# asyncpg treats None as the pool's command_timeout, so "no limit" is a very long timeout.
NO_TIMEOUT_S = 10 * 365 * 24 * 3600.0


class Session(NamedTuple):
    """A connection, and what applying a migration over it needs.

    The commit of ``last`` is synchronous. ``retry_for`` (seconds) limits the attempts at a migration that cannot get a
    lock.
    """

    connection: Connection
    script: ScriptBuilder
    history: History
    journal: Journal
    lock: MigrationLock
    announcer: Announcer
    run: Run
    last: ParsedMigration
    retry_for: float
    notices: NoticeCollector

    async def send(self, sql: str) -> None:
        """Run ``sql``, one statement or several, without a time limit."""
        await self.execute(sql)

    async def execute(self, sql: str) -> str:
        """:meth:`send`, and return the command tag of the last statement, such as ``UPDATE 5``."""
        self.notices.completed = 0
        return await self.connection.execute(sql, timeout=NO_TIMEOUT_S)

    async def send_group(self, migration: ParsedMigration, group: Sequence[Statement]) -> None:
        """Run consecutive statements of ``migration`` in one message, without a time limit."""
        if len(group) == 1:
            await self.send_statement(migration, group[0])
        else:
            self.run.position = Position(migration, group[0].number, group[-1].number)
            await self.send_text(migration, migration.rendered.text[group[0].start : group[-1].end])

    async def send_statement(self, migration: ParsedMigration, statement: Statement) -> None:
        """Run ``statement`` of ``migration``, with its rows if it has any, without a time limit.

        Raises MigrationExecutionError if it is a verification query that finds a row.
        """
        self.note_traces(migration)
        self.run.position = Position(migration, statement.number, statement.number)
        if statement.number in migration.queries:
            await require_no_row(self.connection, migration, statement, NO_TIMEOUT_S)
            return
        await send_statement(self.connection, migration, statement, NO_TIMEOUT_S)
        await self._restore_encoding()

    async def send_text(self, migration: ParsedMigration, sql: str) -> None:
        """Run ``sql``, which contains statements of ``migration``, without a time limit."""
        self.note_traces(migration)
        await self.send(sql)
        await self._restore_encoding()

    def note_traces(self, *migrations: ParsedMigration) -> None:
        """Record that ``migrations`` are about to run and may leave something in the session."""
        for migration in migrations:
            if self.script.leaves_traces(migration):
                self.run.is_clean = False
                self.run.has_prepared = self.run.has_prepared or migration.may_prepare

    async def _restore_encoding(self) -> None:
        """asyncpg always sends UTF-8, whatever client encoding a file has set."""
        if self.connection.get_settings().client_encoding not in UTF8:
            await self.send("SET client_encoding = 'UTF8'")

    async def settle(self) -> None:
        """Wait for the end of a cancelled statement. Until then the connection does not know that it is in a
        transaction."""
        if is_alive(self.connection):
            with suppress(*FAILURES):
                await self.send("SELECT 1")

    async def roll_back(self) -> None:
        if self.connection.is_in_transaction():
            await self.send("ROLLBACK")

    async def clean(self) -> None:
        """Remove what files have left in the session."""
        if not self.run.is_clean:
            await self.send(clean_session(deallocate=self.run.has_prepared))
            self.run.is_clean, self.run.has_prepared = True, False

    async def discard_statements(self, migration: ParsedMigration) -> None:
        """DEALLOCATE ALL drops the statements that asyncpg prepared, which asyncpg does not notice."""
        if migration.may_deallocate:
            await self.connection.reload_schema_state()

    @asynccontextmanager
    async def under_lock(self) -> AsyncIterator[None]:
        """Hold a session lock during the block, and clean the session afterwards."""
        self.run.is_clean = False
        try:
            async with self.lock.held_by_session(self.connection):
                try:
                    yield
                except (asyncio.CancelledError, TimeoutError):
                    await self.settle()
                    raise
                finally:
                    # An aborted transaction could not release the lock.
                    if is_alive(self.connection):
                        await self.roll_back()
        finally:
            if is_alive(self.connection):
                await self.clean()

    async def finish(self) -> None:
        """Roll back what was interrupted, clean the session, and flush the commits that were not synchronous."""
        if not is_alive(self.connection):
            return
        await self.roll_back()
        await self.clean()
        await self.flush()

    async def flush(self) -> None:
        """Flush the commits that were not synchronous."""
        if self.run.durable < len(self.run.applied):
            await self.send(statement("locks", "flush"))
            self.run.durable = len(self.run.applied)

    async def is_audited(self) -> bool:
        """Whether a trigger may record the text of a message: if so, each statement is sent in a message of its own."""
        found: bool = await self.connection.fetchval(statement("runner", "is_audited"))
        return found

    async def applied_before(self, filename: str) -> dict[str, str]:
        """The same as :meth:`applied`, called under the lock and before ``filename`` is applied.

        Raises:
            AlreadyAppliedError: only a given plan may be applied, but the history has changed since it was compared.
        """
        applied = await self.applied()
        wanted = self.run.histories.get(filename)
        if wanted is not None and history_digest(applied) != wanted:
            raise AlreadyAppliedError
        return applied

    async def applied(self) -> dict[str, str]:
        """Checksum by file name; empty without a history table.

        Raises: HistoryLostError: there is no table, but the run can start again because it has applied nothing.
        """
        applied = await self.history.applied(self.connection)
        if applied is None and self.run.starts_history and not self.run.applied:
            raise HistoryLostError
        return applied or {}

    async def read_times(self) -> dict[str, int]:
        """How many milliseconds each file took that the run has applied."""
        missing = [name for name in self.run.applied if name not in self.run.times]
        if missing:
            self.run.times |= await self.history.times(self.connection, missing)
        return self.run.times

    def commits_synchronously(self, migration: ParsedMigration) -> bool:
        """Whether the commit of ``migration`` is flushed: if it is reported to a listener, or is the last one."""
        return self.announcer.has_listener or migration is self.last

    def record_applied(self, migration: ParsedMigration, *, durable: bool) -> None:
        self.run.applied.append(migration.filename)
        if durable:
            self.run.durable = len(self.run.applied)


@asynccontextmanager
async def as_role(connection: Connection, role: str | None, *, of_session: bool = False) -> AsyncIterator[None]:
    """Run the block as ``role``, if there is one: until the end of the transaction, or for the session."""
    if role is None:
        yield
        return
    enter = "enter_role_of_session" if of_session else "enter_role"
    await connection.execute(statement("runner", enter, role=quote(role)))
    try:
        yield
    except BaseException:
        # Rolling back a failed transaction also resets the role.
        if of_session and is_alive(connection):
            try:
                if connection.is_in_transaction():
                    await connection.execute("ROLLBACK", timeout=NO_TIMEOUT_S)
                await connection.execute(statement("runner", "leave_role"))
            except FAILURES:
                # A connection that is lost now must not hide the error before. Otherwise it keeps the role.
                if is_alive(connection):
                    raise
        raise
    await connection.execute(statement("runner", "leave_role"))
