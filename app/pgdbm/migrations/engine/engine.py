"""Applies a plan: each migration exactly once, however many runners there are.

A run reads the history, plans, parses everything that is pending, and applies it. If another runner has the lock, or
was faster, the run waits without holding anything, reads the history again and makes a new plan. If the connection is
lost, it reads what was committed.

Modules that are needed only when something is pending are imported where they are used.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import asyncpg

from ...core.asyncpg_errors import FAILURES, is_alive, is_lost
from ...errors import MigrationError, MigrationExecutionError
from ..results import ApplyResult, Renamed
from ..state.history import require_own_table
from .notices import NoticeCollector, collected
from .plan import ReadPlan, build_plan
from .preparation import check_pending, create_tables, read_history
from .retries import retry_pauses
from .run import Run, with_applied

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from ...core.connection import Connection
    from ...core.manager import AsyncDatabaseManager
    from ..results import Notice
    from ..sources.migration import Migration
    from ..sources.parser import ParsedFile, ParsedMigration
    from ..sources.source import Source
    from ..state.history import History
    from ..state.journal import Journal
    from ..state.lock import MigrationLock
    from .announcer import Announcer
    from .options import EngineOptions
    from .plan import Plan
    from .script import ScriptBuilder
    from .session import Session

logger = logging.getLogger("pgdbm.migrations")

Atomic = Literal["file", "all"]


@dataclass(slots=True, eq=False, repr=False)
class MigrationEngine:
    """Applies the migrations of ``source`` to the schema of ``history``."""

    db: AsyncDatabaseManager
    source: Source
    history: History
    journal: Journal
    lock: MigrationLock
    announcer: Announcer
    options: EngineOptions

    async def collect(self) -> tuple[Migration, ...]:
        """The migrations of the source, in order."""
        return await asyncio.to_thread(self.source.collect) if self.source.is_slow else self.source.collect()

    async def plan(self, target: str | None = None) -> Plan:
        """What is pending, up to ``target``. Creates nothing."""
        return (await self.read_plan(target)).plan

    async def read_plan(self, target: str | None = None) -> ReadPlan:
        """The plan, and what it was made from. Creates nothing."""
        migrations, (recorded, server_version) = await self._read_files_and_history()
        plan = build_plan(migrations, recorded or {}, self.options.out_of_order, target)
        return ReadPlan(plan, migrations, recorded, server_version)

    async def apply(
        self,
        *,
        dry_run: bool = False,
        target: str | None = None,
        atomic: Atomic = "file",
        digest: str | None = None,
        known: ReadPlan | None = None,
    ) -> ApplyResult:
        """Apply what is pending, up to version ``target``. A dry run only parses the files.

        ``atomic="all"``: every pending migration in one transaction. ``digest``: only a plan with this digest is
        applied. ``known``: the plan up to ``target`` that was just made, so that nothing has to be read for the first
        attempt.
        """
        from .outcome import result_of

        run = self.new_run()
        guard = None
        if digest is not None:
            from .plan_guard import PlanGuard

            guard = PlanGuard(self.history.module, self.history.schema, digest)
        with with_applied(run):
            plan, migrations, recorded, server_version = known or await self.read_plan(target)
            while True:
                if guard is not None:
                    guard.require(plan.to_run, run.applied)
                async with (
                    self._creating(recorded is None and bool(migrations) and not dry_run),
                    self._planning(plan, dry_run=dry_run),
                ):
                    parsed = await self.parse(plan.to_apply(self.options.defer_background), server_version)
                if plan.renamed and not dry_run:
                    await self._rename(run, plan)
                    recorded, server_version = await self._read_history()
                    plan = build_plan(migrations, recorded or {}, self.options.out_of_order, target)
                    continue
                if atomic == "all":
                    from .transactional import require_transactional

                    require_transactional(parsed)
                if dry_run or not parsed:
                    return await result_of(self, run, plan, dry_run=dry_run)
                run.starts_history = not plan.skipped
                if guard is not None:
                    run.histories = guard.histories(recorded or {}, parsed)
                if len(run.applied) == len(run.renamed):
                    self.announcer.emit("run_started", pending=[one.filename for one in parsed])
                if not await self._work(run, parsed, atomic):
                    return await result_of(self, run, plan)
                recorded, server_version = await self._read_history()
                plan = build_plan(migrations, recorded or {}, self.options.out_of_order, target)

    async def apply_one(self, migration: Migration) -> int:
        """Apply ``migration``, whatever else is pending. Returns milliseconds; 0 if it was applied already."""
        from .outcome import result_of

        run = self.new_run()
        while True:
            recorded, server_version = await self._read_history()
            # The other names in the history are not those of renamed files.
            of_file = {name: one for name, one in (recorded or {}).items() if name == migration.filename}
            plan = build_plan((migration,), of_file, "allow")
            if not plan.pending:
                return (await result_of(self, run, plan)).applied[0].execution_time_ms if run.applied else 0
            async with self._creating(recorded is None):
                parsed = await self.parse(plan.pending, server_version)
            run.starts_history = recorded is None
            await self._work(run, parsed, "file")

    def new_run(self) -> Run:
        def forward(notice: Notice) -> None:
            severity, sqlstate, message = notice[1:]
            self.announcer.emit("notice", notice.filename, severity=severity, sqlstate=sqlstate, message=message)
            if self.options.on_notice is not None:
                try:
                    self.options.on_notice(notice)
                except Exception:
                    # An exception while the server's answer is being read would close the connection.
                    logger.exception("A listener to notices failed")

        policy, ending = self.options.end_blockers, None
        if policy is not None:
            from .blockers import BlockerEnding

            ending = BlockerEnding(policy, self.journal, self.announcer)
        return Run(NoticeCollector(forward), lock_timeout=self.options.lock_timeout, ending=ending)

    async def _read_history(self) -> tuple[dict[str, str] | None, int]:
        """The checksums of what is applied, None without a history; and the server's major version."""
        return await read_history(self.db, self.history, self.lock, self.announcer)

    async def _read_files_and_history(self) -> tuple[tuple[Migration, ...], tuple[dict[str, str] | None, int]]:
        """The migrations, and what :meth:`_read_history` returns: the server works while this process reads files."""
        history = asyncio.create_task(self._read_history())
        try:
            # Its query is sent before files are read, which blocks the event loop.
            await asyncio.sleep(0)
            migrations = await self.collect()
        except BaseException:
            history.cancel()
            await asyncio.gather(history, return_exceptions=True)
            raise
        return migrations, await history

    async def _rename(self, run: Run, plan: Plan) -> None:
        """Give the rows of renamed files their new names."""
        renamed: list[Renamed] = []

        async def write(connection: Connection) -> None:
            renamed.clear()
            applied = await self.history.applied(connection) or {}
            for filename, previous in plan.renamed.items():
                if previous in applied:
                    await self.history.rename(connection, previous, filename)
                    message = f"applied as {previous}"
                    await self.journal.record(connection, filename, "renamed", message=message)
                    renamed.append(Renamed(filename, previous))

        await self.under_lock(write)
        for one in renamed:
            logger.warning(
                "%s was applied as %s, with the same content. It is not run again, and its row now has the new name.",
                one.filename,
                one.applied_as,
            )
            run.applied.append(one.filename)
            run.renamed[one.filename] = one.applied_as
        run.durable = len(run.applied)

    @asynccontextmanager
    async def _creating(self, is_missing: bool) -> AsyncIterator[None]:
        """Create pgdbm's tables, if they are missing, concurrently with the block."""
        creating = asyncio.create_task(self.create_tables()) if is_missing else None
        try:
            yield
        finally:
            if creating is not None:
                await creating

    def _planning(self, plan: Plan, *, dry_run: bool) -> AbstractAsyncContextManager[None]:
        """Let the server plan the queries after ``plan`` concurrently with the block."""
        if dry_run or not plan.pending:
            return nullcontext()
        from .planning import planning_concurrently

        return planning_concurrently(self, plan)

    async def create_tables(self) -> None:
        """Create the schema and pgdbm's tables in it, unless they exist."""
        await create_tables(self.db, self.history, self.options.role, snapshots=self.options.snapshots)

    @asynccontextmanager
    async def _backend(self, *, direct: bool = False) -> AsyncIterator[Connection]:
        """A connection to migrate over."""
        report = self.options.on_backend or (lambda _: None)
        # Through a transaction pooler the process id is the pooler's.
        direct = direct or self.options.on_backend is not None
        async with self.db.acquire_direct() if direct else self.db.acquire() as connection:
            report(connection.get_server_pid())
            try:
                yield connection
            finally:
                report(None)

    async def parse(self, pending: Sequence[Migration], server_version: int) -> list[ParsedMigration]:
        """Parse ``pending``. Raises MigrationFileError for a file that cannot run."""
        if not pending:
            return []
        files = self.parse_each(tuple(pending), server_version)
        return await check_pending(self, await asyncio.to_thread(lambda: [file.migration for file in files]))

    def parse_each(self, pending: Sequence[Migration], server_version: int) -> Iterator[ParsedFile]:
        """:meth:`parse`, file by file, with the parse trees. Iterate in a thread."""
        from ..sources.batches import parse_each  # imported lazily: most runs have nothing to parse

        for file in parse_each(pending, self.history.schema, server_version):
            if self.options.role is not None:
                from ..sources.role_checks import check_keeps_role  # imported lazily: few modules have a role

                check_keeps_role(file)
            yield file

    async def save_snapshot(self, connection: Connection, run: Run | None = None) -> None:
        """Store a snapshot of the schema after ``run``, if it succeeded and snapshots are enabled. Logs a failure."""
        if not self.options.snapshots:
            return
        from ..state import snapshots  # imported lazily: most runs have nothing to apply
        from .touched import touched_by

        history, touched = self.history, None if run is None else touched_by(run, self.history.schema)
        try:
            await snapshots.save(
                connection, history.schema, history.module, history.table_name, self.options.role, touched
            )
        except (MigrationError, *FAILURES) as error:
            logger.warning("No snapshot of schema %s was stored: %s", self.history.schema, error)

    def script(self, connection: Connection, histories: Mapping[str, str] | None = None) -> ScriptBuilder:
        """The script builder for the server of ``connection``. ``histories``: as :class:`ScriptBuilder` takes them."""
        from .script import ScriptBuilder
        from .search_path import search_path_of_files

        return ScriptBuilder(
            self.history,
            self.lock.key,
            self.options.lock_timeout,
            connection.get_server_version().major,
            self.options.role,
            search_path_of_files(self.db, self.history.schema),
            histories,
        )

    def session(self, connection: Connection, last: ParsedMigration, run: Run | None = None) -> Session:
        """A session to migrate over ``connection``. ``last`` is the last migration of the run."""
        from .session import Session

        run = run or self.new_run()
        return Session(
            connection=connection,
            script=self.script(connection, run.histories),
            history=self.history,
            journal=self.journal,
            lock=self.lock,
            announcer=self.announcer,
            run=run,
            last=last,
            retry_for=self.options.retry_for,
            notices=run.notices,
        )

    async def under_lock(self, work: Callable[[Connection], Awaitable[str | None]]) -> None:
        """Call ``work`` in a transaction that holds the lock of the module. Waits for another runner first.

        ``work`` returns SQL that is sent in the same message as the COMMIT. Retried after a serialization failure.
        """
        from .execution_errors import LockHeldError

        for pause in retry_pauses():
            try:
                async with self.db.acquire() as connection:
                    await self._work_under_lock(connection, work)
            except LockHeldError:
                await self.lock.wait_until_free(self.db)
            except asyncpg.SerializationError:
                await asyncio.sleep(pause)
            else:
                return

    async def _work_under_lock(
        self, connection: Connection, work: Callable[[Connection], Awaitable[str | None]]
    ) -> None:
        from .execution_errors import raise_if_refused
        from .session import NO_TIMEOUT_S

        # Before the transaction: if two sessions created it concurrently in transactions, one would fail.
        await self.journal.create(connection)
        try:
            await connection.execute(self.script(connection).opening(), timeout=NO_TIMEOUT_S)
            await require_own_table(connection, self.history.table, self.options.role)
            after = await work(connection)
            await connection.execute(f"COMMIT;\n{after}" if after else "COMMIT", timeout=NO_TIMEOUT_S)
        except asyncpg.PostgresError as error:
            raise_if_refused(error)
            raise
        finally:
            if is_alive(connection) and connection.is_in_transaction():
                # A failed rollback must not hide the error that caused it.
                with suppress(*FAILURES):
                    await connection.execute("ROLLBACK", timeout=NO_TIMEOUT_S)

    async def _work(self, run: Run, parsed: list[ParsedMigration], atomic: Atomic) -> bool:
        """Apply ``parsed``. True if a new plan is needed: another runner was faster, or the history was lost."""
        from .execution_errors import AlreadyAppliedError, HistoryLostError, LockHeldError
        from .monitor import watching

        try:
            async with self._backend() as connection, watching(self.db, connection, self.announcer, run):
                with collected(connection, run.notices):
                    await self._work_over(connection, run, parsed, atomic)
        except LockHeldError:
            logger.info("Another runner is migrating %s: waiting for it.", self.history.table)
            await self.lock.wait_until_free(self.db, self._on_wait if self.announcer.has_listener else None)
            return True
        except AlreadyAppliedError:
            logger.info("Another runner was faster on %s: making a new plan.", self.history.table)
            return True
        except HistoryLostError:
            # Its creation was not flushed, and neither was anything after it.
            logger.warning("%s disappeared before anything was applied: making a new plan.", self.history.table)
            return True
        except FAILURES as error:
            if not is_lost(error):
                raise
            from .outcome import read_outcome  # imported lazily: connections are rarely lost

            await read_outcome(self, run, parsed, error)
        return False

    def _on_wait(self, holder: dict[str, Any] | None) -> None:
        self.announcer.emit("waiting_for_runner", holder=holder)

    async def _work_over(self, connection: Connection, run: Run, parsed: list[ParsedMigration], atomic: Atomic) -> None:
        from .statement_groups import is_worth_joining
        from .touched import note_tables
        from .transactional import apply_all

        note_tables(run, parsed)
        session = self.session(connection, parsed[-1], run)
        try:
            if run.notices.is_counting and any(is_worth_joining(one) for one in parsed if one.transactional):
                run.joins_statements = not await session.is_audited()
            await (apply_all(session, parsed) if atomic == "all" else self._apply(session, parsed))
        except MigrationError as error:
            if isinstance(error, MigrationExecutionError):
                times = await session.read_times()
                error.applied = [{"filename": name, "execution_time_ms": times.get(name, 0)} for name in run.applied]
            if run.applied:
                await self.save_snapshot(connection)
            raise
        except (asyncio.CancelledError, TimeoutError):
            await session.settle()
            raise
        finally:
            await session.finish()

    async def _apply(self, session: Session, parsed: Sequence[ParsedMigration]) -> None:
        from .script import grouped
        from .transactional import apply_by_statement, apply_in_messages

        def import_ahead() -> None:
            # What takes the snapshot, which takes as long to import as a few files take to run.
            from ..state import snapshots  # noqa: F401

        together = len(parsed) == 1 or not await session.is_audited()
        for group in grouped(parsed, together=together, has_listener=self.announcer.has_listener):
            if group.together:
                await apply_in_messages(session, group.migrations, import_ahead)
            elif group.migrations[0].transactional:
                await apply_by_statement(session, group.migrations[0])
            else:
                await self._apply_without_transaction(session, group.migrations[0])

    async def _apply_without_transaction(self, session: Session, migration: ParsedMigration) -> None:
        from .monitor import watching

        if migration.backfill is not None:
            from .backfilling import apply_backfill as apply
        else:
            from .non_transactional import apply_without_transaction as apply

        if not self.db.has_direct_connection:
            await apply(session, migration)
            return
        # Through a transaction pooler there is no session that could hold a lock.
        async with self._backend(direct=True) as direct, watching(self.db, direct, self.announcer, session.run):
            with collected(direct, session.notices):
                await apply(session._replace(connection=direct), migration)
