"""Manual changes to the history: revert, mark, repair, baseline, resolve. They run under the lock and are recorded in
the journal."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import asyncpg

from ..core.asyncpg_errors import FAILURES, is_lost, lost_message
from ..core.creation import NOT_THERE
from ..errors import AsyncDBError, ConnectionError, MigrationError
from ..text import sentence
from .engine.advice import advise
from .engine.copy_rows import send_statement
from .engine.execution_errors import HistoryLostError, execution_error, offset_of
from .engine.lost_sessions import own_end_of
from .engine.non_transactional import revert_without_transaction
from .engine.notices import collected
from .engine.run import Position
from .engine.script import clean_session
from .engine.session import NO_TIMEOUT_S
from .results import Applied, Repair
from .sources.names import down_name_of, is_repeatable_name, order_of
from .state.history import require_own_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ..core.connection import Connection
    from .engine.engine import MigrationEngine
    from .engine.run import Run
    from .sources.migration import Migration
    from .sources.parser import ParsedMigration
    from .sources.previous import PreviousContents
    from .sources.statements import Statement
    from .state.journal import StatementRecord

logger = logging.getLogger("pgdbm.migrations")


@dataclass(frozen=True, slots=True)
class Operations:
    """The operations on the history of one engine."""

    engine: MigrationEngine

    async def mark(self, filename: str, *, applied: bool) -> None:
        """Record ``filename`` as applied, or delete its record. Does not run its SQL.

        Raises:
            MigrationError: there is no such file, or it already is, or is not, in the history.
        """
        migrations = {one.filename: one for one in await self.engine.collect()}
        if applied and filename not in migrations:
            from difflib import get_close_matches  # imported lazily: only errors need it

            close = get_close_matches(filename, migrations, 1)
            near = f" Did you mean {close[0]}?" if close else ""
            raise MigrationError(f"There is no migration {filename!r} to mark as applied.{near}", filename)
        history = self.engine.history

        async def check(connection: Connection) -> dict[str, str] | None:
            recorded = await history.applied(connection)
            if (filename in (recorded or {})) == applied:
                raise MigrationError(f"{filename} is {'' if applied else 'not '}in the history already.", filename)
            return recorded

        # Checked before the history and its schema are created.
        async with self.engine.db.acquire() as connection:
            starts_history = not await check(connection)

        async def write(connection: Connection) -> None:
            if await check(connection) is None:
                if starts_history:
                    raise HistoryLostError
                raise MigrationError(f"{history.table} was dropped after it was read. Check it, and try again.")
            if applied:
                await history.mark(connection, filename, migrations[filename].checksum)
            else:
                await history.delete(connection, filename)
            await self.engine.journal.record(connection, filename, "marked" if applied else "unmarked")

        await self._write_first(write)

    async def resolve(self, filename: str, statement: int, *, done: bool) -> None:
        """Settle whether a statement outside a transaction, whose outcome is unknown, took effect.

        Raises:
            MigrationError: the outcome of that statement is not unknown.
        """
        journal = self.engine.journal

        async def unknown(connection: Connection) -> StatementRecord:
            record = (await journal.statements(connection, filename)).get(statement)
            if record is None or record.event != "started":
                raise MigrationError(f"{filename}: the outcome of statement {statement} is known.", filename)
            return record

        async def write(connection: Connection) -> None:
            record = await unknown(connection)
            await journal.end(connection, record.id, "applied" if done else "failed")

        # Checked before the journal is created.
        async with self.engine.db.acquire() as connection:
            await unknown(connection)
        # Checked under the lock: a running migration has an unfinished statement, too.
        await self.engine.under_lock(write)

    async def repair(self, *, accept: bool = False) -> list[tuple[Migration, str]]:
        """The applied migrations whose content has changed, with the checksums that the history has.

        ``accept`` records their current checksums.
        """
        history = self.engine.history
        found: list[tuple[Migration, str]] = []
        migrations = await self.engine.collect()

        async def compare(connection: Connection, *, write: bool) -> None:
            found.clear()
            recorded = await history.applied(connection) or {}
            for migration in migrations:
                before = recorded.get(migration.filename)
                if before is None or migration.matches(before) or migration.is_repeatable:
                    continue
                found.append((migration, before))
                if write:
                    await history.accept(connection, migration.filename, migration.checksum)
                    message = f"checksum {before} became {migration.checksum}"
                    await self.engine.journal.record(connection, migration.filename, "repaired", message=message)

        async with self.engine.db.acquire() as connection:
            await compare(connection, write=False)
        if accept and found:
            await self.engine.under_lock(partial(compare, write=True))
        return found

    async def baseline(self, version: str, check: Callable[[], Awaitable[None]] | None) -> list[str]:
        """Record every migration up to ``version`` as applied. Returns their names. ``check`` may raise.

        Raises:
            MigrationError: there is no such version, or the history is not empty.
        """
        plan = await self.engine.plan(target=version)
        if plan.skipped:
            raise MigrationError(
                f"A baseline is the beginning of a history, but this one already has {len(plan.skipped)} migrations. "
                f"Use mark() for single migrations."
            )
        skipped = [migration for migration in plan.pending if not migration.is_repeatable]
        if check is not None:
            await check()

        async def write(connection: Connection) -> None:
            recorded = await self.engine.history.applied(connection)
            if recorded is None:
                raise HistoryLostError
            if recorded:
                raise MigrationError("Another session has just started this history. Check it, and try again.")
            for migration in skipped:
                await self.engine.history.mark(connection, migration.filename, migration.checksum)
                await self.engine.journal.record(connection, migration.filename, "baselined")

        await self._write_first(write)
        return [migration.filename for migration in skipped]

    async def _write_first(self, write: Callable[[Connection], Awaitable[None]]) -> None:
        """Create pgdbm's tables unless they exist, and call ``write`` under the lock.

        It is repeated if ``write`` raises HistoryLostError: the creation is not flushed, and a server crash undoes it.
        """
        while True:
            await self.engine.create_tables()
            try:
                return await self.engine.under_lock(write)
            except (HistoryLostError, *NOT_THERE):
                logger.warning(
                    "%s disappeared before anything was recorded: creating it again.", self.engine.history.table
                )

    async def revert(self, steps: int) -> list[Applied]:
        """Run the ``.down.sql`` files of the ``steps`` newest applied migrations, newest first.

        Each runs in a transaction, or with ``-- pgdbm:no-transaction`` statement by statement, resumable.

        Raises:
            MigrationError: there are fewer, or one has no down migration; nothing has run.
            MigrationExecutionError: a statement failed; what was reverted before remains reverted.
            MigrationUnknownError: an earlier call died during a statement, and its outcome cannot be determined.
        """
        async with self.engine.db.acquire() as connection:
            applied = await self.engine.history.applied(connection) or {}
            server_version = connection.get_server_version().major
        names = sorted((name for name in applied if not is_repeatable_name(name)), key=order_of, reverse=True)
        if not 0 < steps <= len(names):
            raise MigrationError(f"Cannot revert {steps} migrations: {len(names)} are applied.")
        reverting = names[:steps]
        down_migrations = await asyncio.to_thread(self._parsed_down_migrations, reverting, server_version)
        reverted: list[Applied] = []
        try:
            for name, down in zip(reverting, down_migrations, strict=True):
                started = time.perf_counter()
                await self._revert_one(name, down)
                reverted.append(Applied(name, round((time.perf_counter() - started) * 1000)))
        except (MigrationError, ConnectionError):
            if reverted:
                with suppress(AsyncDBError, *FAILURES):
                    await self._save_snapshot()
            raise
        await self._save_snapshot()
        return reverted

    def _parsed_down_migrations(self, names: Sequence[str], server_version: int) -> list[ParsedMigration]:
        found: list[Migration] = []
        for name in names:
            migration = self.engine.source.down_migration(name)
            if migration is None:
                raise MigrationError(
                    f"{name} has no down migration: write {down_name_of(name)} beside it, or undo it with a new "
                    f"migration.",
                    name,
                )
            found.append(migration)
        return [file.migration for file in self.engine.parse_each(found, server_version)]

    async def _save_snapshot(self) -> None:
        async with self.engine.db.acquire() as connection:
            await self.engine.save_snapshot(connection)

    async def _revert_one(self, name: str, down: ParsedMigration) -> None:
        run = self.engine.new_run()
        run.notices.pause()
        try:
            await self._run_revert(run, name, down)
        except (ConnectionError, *FAILURES) as error:
            if run.position is None or not (isinstance(error, ConnectionError) or is_lost(error)):
                raise
            failure = await own_end_of(self.engine, run, down, error)
            if failure is not None:
                raise failure from error
            reason = error.message if isinstance(error, ConnectionError) else sentence(lost_message(error))
            line, column = down.position(down.statements[run.position.first - 1].start)
            raise ConnectionError(
                f"{down.filename}:{line}:{column}: statement {run.position.first}: {reason} {name} is not reverted. "
                f"Revert again.",
                {"error_type": type(error).__name__},
            ) from error

    async def _run_revert(self, run: Run, name: str, down: ParsedMigration) -> None:
        engine = self.engine
        if not down.transactional:
            async with engine.db.acquire_direct() as connection:
                with collected(connection, run.notices):
                    await revert_without_transaction(engine.session(connection, down, run), name, down)
            return

        async def write(connection: Connection) -> str | None:
            if name not in (await engine.history.applied(connection) or {}):
                raise MigrationError(f"Another session has just reverted {name}.", name)
            script = engine.script(connection)
            if script.entering():
                await connection.execute(script.entering())
            with collected(connection, run.notices):
                await self._run_down(connection, down, run)
            if script.leaves_traces(down):
                await connection.execute(script.closing(), timeout=NO_TIMEOUT_S)
                await require_own_table(connection, engine.history.table, engine.options.role)
            await engine.history.delete(connection, name)
            await engine.journal.record(connection, name, "reverted")
            return script.cleanup(down) if script.leaves_traces(down) else None

        await engine.under_lock(write)

    async def _run_down(self, connection: Connection, down: ParsedMigration, run: Run) -> None:
        """Run the statements of ``down``. After an error the caller rolls back the transaction."""
        running: Statement | None = None
        try:
            for running in down.statements:
                run.position = Position(down, running.number, running.number)
                await send_statement(connection, down, running, NO_TIMEOUT_S)
            run.position = None
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            # Prepared statements and session locks survive the rollback.
            await connection.execute(f"ROLLBACK;\n{clean_session(deallocate=False)}", timeout=NO_TIMEOUT_S)
            advice = await advise(self.engine.session(connection, down, run), error, down)
            raise execution_error(error, down, running, offset_of(error), advice) from error


def repairs_of(changed: Sequence[tuple[Migration, str]], previous: PreviousContents | None) -> list[Repair]:
    """What :meth:`Operations.repair` found, each with a diff. Call it in a thread; raises what ``previous`` raises."""
    from .sources.previous import diff_to  # imported lazily: few programs repair

    return [
        Repair(one.filename, before, one.checksum, diff_to(one.filename, before, one.checksum, one.content, previous))
        for one, before in changed
    ]
