"""Applying a plan: exactly once, whoever runs, at the speed of psql.

A run reads the history, plans, parses everything that is pending, and works through it. Where another runner holds
the lock, or was faster, it waits without holding anything, reads the history again and plans anew. Where the
connection is lost, it finds out what was committed rather than guess.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from ..core.identifiers import quote
from ..core.pool import is_lost
from ..core.queries import FAILURES
from ..errors import AsyncDBError, ConfigurationError, ConnectionError, MigrationExecutionError
from ..sql import statement
from . import drift
from .autocommit import apply_without_transaction
from .batches import parse_all
from .failures import AlreadyAppliedError, LockHeldError, retry_pauses
from .message import Composer, compose, grouped
from .plan import build_plan
from .results import Applied, ApplyResult
from .session import Run, Session
from .transactional import apply_all, apply_by_statement, apply_together
from .watch import watching

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from ..core.manager import AsyncDatabaseManager
    from .events import Announcer
    from .files import Migration, Source
    from .history import History
    from .journal import Journal
    from .locks import MigrationLock
    from .message import Message
    from .parser import ParsedMigration
    from .plan import Plan
    from .results import OutOfOrder

logger = logging.getLogger("pgdbm.migrations")

Atomic = Literal["file", "all"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine behaves. Times are seconds.

    ``lock_timeout`` (None: the server's setting) bounds what one transactional statement waits for a lock of somebody
    else's work; ``retry_for`` how long such a migration is tried again; ``find_out_for`` how long the server is looked
    for after the connection was lost. ``snapshots``: whether a run that applied something keeps what the schema is
    then, for :meth:`~pgdbm.migrations.AsyncMigrationManager.drift` to compare. ``role``: whom the migrations' SQL runs
    as (None: the user that we connected as). ``on_backend`` hears the process id of the server's backend that
    migrations are about to run on, and None when they no longer do.
    """

    out_of_order: OutOfOrder = "allow"
    lock_timeout: float | None = 5.0
    retry_for: float = 600.0
    find_out_for: float = 60.0
    snapshots: bool = True
    role: str | None = None
    on_backend: Callable[[int | None], None] | None = None


@dataclass(slots=True)
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
        if self.source.is_slow:
            return await asyncio.to_thread(self.source.collect)
        return self.source.collect()

    async def plan(self, target: str | None = None) -> Plan:
        """What is pending now, up to ``target``. Creates nothing."""
        return (await self.look(target))[0]

    async def look(self, target: str | None = None) -> tuple[Plan, int]:
        """The plan, and the major version of the server that it is for. Creates nothing."""
        plan, server_version, _ = await self._look(await self.collect(), self.options.out_of_order, target)
        return plan, server_version

    async def apply(self, *, dry_run: bool = False, target: str | None = None, atomic: Atomic = "file") -> ApplyResult:
        """Apply what is pending, up to version ``target``; on a dry run, parse it and say what it is.

        ``atomic="all"``: every pending migration in one transaction.
        """
        run = Run()
        migrations = await self.collect()
        with _told_how_far(run):
            while True:
                plan, server_version, is_new = await self._look(migrations, self.options.out_of_order, target)
                async with self._creating(is_new and bool(migrations) and not dry_run):
                    parsed = await self.parse(plan.pending, server_version)
                if atomic == "all":
                    _check_that_all_fit_into_one_transaction(parsed)
                if dry_run or not parsed:
                    return await self._result(run, plan, dry_run=dry_run)
                if not run.applied:
                    self.announcer.say("run_began", pending=[one.filename for one in parsed])
                if not await self._work(run, parsed, atomic):
                    return await self._result(run, plan)

    async def apply_one(self, migration: Migration) -> int:
        """Apply ``migration`` whatever else is pending; returns milliseconds, 0 if the history has it already."""
        run = Run()
        while True:
            plan, server_version, is_new = await self._look((migration,), "allow", None)
            if not plan.pending:
                return (await self._result(run, plan)).applied[0].execution_time_ms if run.applied else 0
            async with self._creating(is_new):
                parsed = await self.parse(plan.pending, server_version)
            await self._work(run, parsed, "file")

    async def _look(
        self, migrations: Sequence[Migration], out_of_order: OutOfOrder, target: str | None
    ) -> tuple[Plan, int, bool]:
        """The plan, the server's major version, and whether there is no history yet."""
        async with self.db.acquire() as connection:
            applied = await self.history.applied(connection)
            server_version = connection.get_server_version().major
        return build_plan(migrations, applied or {}, out_of_order, target), server_version, applied is None

    @asynccontextmanager
    async def _creating(self, is_missing: bool) -> AsyncIterator[None]:
        """Make what we keep in the schema, where it ``is_missing``, while the block works; it is there afterwards."""
        creating = asyncio.create_task(self._create()) if is_missing else None
        try:
            yield
        finally:
            if creating is not None:
                await creating

    async def _create(self) -> None:
        await self.history.create(self.db)
        if self.options.snapshots:
            async with self.db.acquire() as connection:
                await drift.create(connection, self.history.schema)
        if self.options.role is not None:
            await self._let_in(self.options.role)

    async def _let_in(self, role: str) -> None:
        """Let ``role`` make things in the schema, which is ours if we made it."""
        async with self.db.acquire() as connection:
            if not await connection.fetchval(statement("runner", "may_create"), role, self.history.schema):
                names = {"schema": quote(self.history.schema), "role": quote(role)}
                await connection.execute(statement("runner", "grant_schema", **names))

    @asynccontextmanager
    async def _backend(self, *, direct: bool = False) -> AsyncIterator[Any]:
        """A connection to migrate over; ``on_backend`` hears of it."""
        tell = self.options.on_backend or _nobody
        # Who wants to know the backend wants one that stays: through a transaction pooler the id is the pooler's.
        direct = direct or self.options.on_backend is not None
        async with self.db.acquire_direct() if direct else self.db.acquire() as connection:
            tell(connection.get_server_pid())
            try:
                yield connection
            finally:
                tell(None)

    async def parse(self, pending: Sequence[Migration], server_version: int) -> list[ParsedMigration]:
        """``pending`` as they would run; raises MigrationFileError for one that cannot."""
        if not pending:
            return []
        return await asyncio.to_thread(self._parsed, tuple(pending), server_version)

    def _parsed(self, pending: tuple[Migration, ...], server_version: int) -> list[ParsedMigration]:
        parsed = parse_all(pending, self.history.schema, server_version)
        if self.options.role is not None:
            from .confinement import check_all_stay_in_role  # here, as few modules have a role

            check_all_stay_in_role(parsed)
        return parsed

    async def _result(self, run: Run, plan: Plan, *, dry_run: bool = False) -> ApplyResult:
        times: dict[str, int] = {}
        if run.applied:
            try:
                async with self.db.acquire() as connection:
                    times = await self.history.times(connection, run.applied)
                    if self.options.snapshots:
                        await self.keep_snapshot(connection)
            except (ConnectionError, *FAILURES) as error:
                # What was applied is on disk by now, and that is what matters.
                logger.warning("How long the migrations took could not be read: %s", error)
            self.announcer.say("run_ended", ms=run.milliseconds)
        applied_here = set(run.applied)
        skipped = tuple([one.filename for one in plan.skipped if one.filename not in applied_here])
        return ApplyResult(
            status="dry_run" if dry_run else "success" if run.applied else "up_to_date",
            applied=tuple(Applied(name, times.get(name, 0)) for name in run.applied),
            skipped=skipped,
            pending=tuple(one.filename for one in plan.pending) if dry_run else (),
            total=len(plan.pending) + len(plan.skipped) + len(plan.beyond_target),
            total_time_ms=run.milliseconds,
        )

    async def keep_snapshot(self, connection: Any) -> None:
        """The migrations are applied; that the picture of it could not be kept is logged, and no more."""
        try:
            await drift.save(connection, self.history.schema, self.history.module, self.history.table_name)
        except FAILURES as error:
            logger.warning("No snapshot of schema %s was kept: %s", self.history.schema, error)

    def session(self, connection: Any, run: Run, last: ParsedMigration) -> Session:
        """What migrates over ``connection``; ``last`` is the migration that ``run`` ends with."""
        lock_timeout = self.options.lock_timeout
        composer = Composer(
            self.history,
            self.lock.key,
            None if lock_timeout is None else round(lock_timeout * 1000),
            connection.get_server_version().major,
            self.options.role,
        )
        return Session(
            connection=connection,
            composer=composer,
            history=self.history,
            journal=self.journal,
            lock=self.lock,
            announcer=self.announcer,
            run=run,
            last=last,
            retry_for=self.options.retry_for,
        )

    async def _work(self, run: Run, parsed: list[ParsedMigration], atomic: Atomic) -> bool:
        """Apply ``parsed``; True where another runner came between and it has to be looked at anew."""
        try:
            async with self._backend() as connection, watching(self.db, connection, self.announcer):
                session = self.session(connection, run, parsed[-1])
                try:
                    await (apply_all(session, parsed) if atomic == "all" else self._apply(session, parsed))
                except MigrationExecutionError as error:
                    times = await self.history.times(connection, run.applied) if run.applied else {}
                    error.applied = [
                        {"filename": name, "execution_time_ms": times.get(name, 0)} for name in run.applied
                    ]
                    if run.applied and self.options.snapshots:
                        await self.keep_snapshot(connection)
                    raise
                finally:
                    await session.finish()
        except LockHeldError:
            logger.info("Another runner migrates %s: waiting for it.", self.history.table)
            await self.lock.wait_until_free(self.db, self.announcer)
            return True
        except AlreadyAppliedError:
            logger.info("Another runner was faster on %s: looking again.", self.history.table)
            return True
        except FAILURES as error:
            if not is_lost(error):
                raise
            await self._find_out(run, parsed, error)
        return False

    async def _apply(self, session: Session, parsed: Sequence[ParsedMigration]) -> None:
        groups = grouped(parsed, together=not self.announcer.is_heard)
        composed: dict[int, Message] = {}

        def prepare(number: int) -> None:
            if number < len(groups) and groups[number].together and number not in composed:
                composed[number] = compose(session.composer, groups[number].migrations, session.last)

        for number, group in enumerate(groups):
            if group.together:
                prepare(number)
                await apply_together(session, group.migrations, composed.pop(number), partial(prepare, number + 1))
            elif group.migrations[0].transactional:
                await apply_by_statement(session, group.migrations[0])
            else:
                await self._apply_without_transaction(session, group.migrations[0])

    async def _apply_without_transaction(self, session: Session, migration: ParsedMigration) -> None:
        if not self.db.has_direct_connection:
            await apply_without_transaction(session, migration)
            return
        # Through a transaction pooler there is no session that could hold a lock.
        async with self._backend(direct=True) as direct, watching(self.db, direct, self.announcer):
            await apply_without_transaction(replace(session, connection=direct), migration)

    async def _find_out(self, run: Run, parsed: Sequence[ParsedMigration], error: BaseException) -> None:
        """After the connection was lost: what was committed? Returns where everything was, else raises.

        Raises:
            ConnectionError: with what is applied and what is not, or that the server could not be asked.
        """
        began = time.monotonic()
        applied: dict[str, str] = {}
        for pause in retry_pauses():
            try:
                # The server works on, without us, until it notices; while it does, it holds our lock.
                await self.lock.wait_until_free(self.db)
                async with self.db.acquire() as connection:
                    applied = await self.history.applied(connection) or {}
                    await connection.execute(statement("locks", "flush"))
                break
            except (AsyncDBError, *FAILURES) as away:
                if time.monotonic() - began + pause > self.options.find_out_for:
                    raise ConnectionError(
                        f"The connection was lost while migrations were applied: {error}. The server could not be "
                        f"asked what was committed ({away}); run again to find out and to go on.",
                        details={"applied": run.applied[: run.on_disk], "error_type": type(error).__name__},
                    ) from error
                await asyncio.sleep(pause)
        missing = []
        for migration in parsed:
            if applied.get(migration.filename) != migration.migration.checksum:
                missing.append(migration.filename)
            elif migration.filename not in run.applied:
                run.applied.append(migration.filename)
        # A server that crashed has forgotten what was committed without waiting for the disk.
        run.applied = [filename for filename in run.applied if filename not in missing]
        run.on_disk = len(run.applied)
        if missing:
            raise ConnectionError(
                f"The connection was lost while migrations were applied: {error}. {len(run.applied)} of them are "
                f"applied; of {missing[0]} nothing was kept that the next run would not take up. Run again to go on.",
                details={"applied": list(run.applied), "pending": missing, "error_type": type(error).__name__},
            ) from error


def _nobody(_: int | None) -> None:
    return None


@contextmanager
def _told_how_far(run: Run) -> Iterator[None]:
    """Whoever hears that the connection was lost hears what was applied before."""
    try:
        yield
    except ConnectionError as error:
        error.details.setdefault("applied", list(run.applied))
        raise
    except FAILURES as error:
        if not is_lost(error):
            raise
        raise ConnectionError(
            f"The connection to the server was lost or refused: {error or type(error).__name__}",
            details={"applied": list(run.applied), "error_type": type(error).__name__},
        ) from error


def _check_that_all_fit_into_one_transaction(parsed: Sequence[ParsedMigration]) -> None:
    for migration in parsed:
        if not migration.transactional:
            raise ConfigurationError(
                f'atomic="all" puts every pending migration into one transaction, and {migration.filename} cannot run '
                f"in one. Apply up to it first, with target=, or leave atomic out.",
                "atomic",
            )
