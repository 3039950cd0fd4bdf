"""Applying a plan: exactly once, whoever runs, at the speed of psql.

A run reads the history, plans, parses everything that is pending, and works through it. Where another runner holds
the lock, or was faster, it waits without holding anything, reads the history again and plans anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from ..core.pool import is_alive, is_lost
from ..core.queries import FAILURES
from ..errors import ConnectionError, MigrationError, MigrationExecutionError
from ..sql import statement
from .message import ALREADY_APPLIED, LOCK_HELD, Composer, compose
from .parser import ParsedMigration, parse_all
from .plan import Plan, build_plan
from .results import Applied, ApplyResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..core.manager import AsyncDatabaseManager
    from .files import Migration, Source
    from .history import History
    from .locks import MigrationLock
    from .message import Message
    from .parser import Statement
    from .results import OutOfOrder

logger = logging.getLogger("pgdbm.migrations")

# asyncpg takes None for "as the pool is configured", so no limit is a very long one.
NO_TIMEOUT_S = 10 * 365 * 24 * 3600.0

_MOST_FILES_IN_MESSAGE = 64
_MOST_CHARACTERS_IN_MESSAGE = 256 * 1024


class _LockHeldError(Exception):
    """Another runner has the lock."""


class _AlreadyAppliedError(Exception):
    """Another runner applied the migration since the history was read."""


@dataclass(slots=True)
class _Run:
    """What one call of apply has done so far."""

    began: float = field(default_factory=time.perf_counter)
    applied: list[str] = field(default_factory=list)
    to_be_flushed: bool = False

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self.began) * 1000


class MigrationEngine:
    """Applies the migrations of ``source`` to the schema of ``history``.

    ``lock_timeout`` (seconds, None: the server's setting) bounds what a transactional statement waits for a lock of
    somebody else's work; ``lock`` is what migrations of one module exclude each other with.
    """

    def __init__(
        self,
        db: AsyncDatabaseManager,
        source: Source,
        history: History,
        lock: MigrationLock,
        *,
        out_of_order: OutOfOrder = "allow",
        lock_timeout: float | None = 5.0,
    ) -> None:
        self._db = db
        self._source = source
        self._history = history
        self._lock = lock
        self._out_of_order: OutOfOrder = out_of_order
        self._lock_timeout_ms = None if lock_timeout is None else round(lock_timeout * 1000)

    async def collect(self) -> tuple[Migration, ...]:
        """The migrations of the source, in order."""
        if self._source.is_slow:
            return await asyncio.to_thread(self._source.collect)
        return self._source.collect()

    async def plan(self) -> Plan:
        """What is pending now. Creates nothing."""
        migrations = await self.collect()
        async with self._db.acquire() as connection:
            applied = await self._history.applied(connection)
        return build_plan(migrations, applied or {}, self._out_of_order)

    async def apply(self, *, dry_run: bool = False) -> ApplyResult:
        """Apply what is pending; on a dry run, parse it and say what it is."""
        run = _Run()
        migrations = await self.collect()
        while True:
            plan, server_version = await self._look(migrations, self._out_of_order, create=not dry_run)
            parsed = await self._parse(plan.pending, server_version) if plan.pending else []
            if dry_run or not parsed:
                return await self._result(run, plan, dry_run=dry_run)
            try:
                await self._work(run, parsed, server_version)
            except _LockHeldError:
                logger.info("Another runner migrates %s: waiting for it.", self._history.table)
                await self._lock.wait_until_free(self._db)
            except _AlreadyAppliedError:
                logger.info("Another runner was faster on %s: looking again.", self._history.table)

    async def apply_one(self, migration: Migration) -> int:
        """Apply ``migration`` whatever else is pending; returns milliseconds, 0 if the history has it already."""
        run = _Run()
        while True:
            plan, server_version = await self._look((migration,), "allow", create=True)
            if not plan.pending:
                return (await self._result(run, plan)).applied[0].execution_time_ms if run.applied else 0
            try:
                await self._work(run, await self._parse(plan.pending, server_version), server_version)
            except _LockHeldError:
                await self._lock.wait_until_free(self._db)
            except _AlreadyAppliedError:
                continue

    async def _look(
        self, migrations: Sequence[Migration], out_of_order: OutOfOrder, *, create: bool
    ) -> tuple[Plan, int]:
        async with self._db.acquire() as connection:
            applied = await self._history.applied(connection)
            server_version = connection.get_server_version().major
        if applied is None and create and migrations:
            await self._history.create(self._db)
        return build_plan(migrations, applied or {}, out_of_order), server_version

    async def _parse(self, pending: Sequence[Migration], server_version: int) -> list[ParsedMigration]:
        return await asyncio.to_thread(parse_all, tuple(pending), self._history.schema, server_version)

    async def _result(self, run: _Run, plan: Plan, *, dry_run: bool = False) -> ApplyResult:
        times: dict[str, int] = {}
        if run.applied:
            async with self._db.acquire() as connection:
                times = await self._history.times(connection, run.applied)
        applied_here = set(run.applied)
        skipped = tuple([one.filename for one in plan.skipped if one.filename not in applied_here])
        return ApplyResult(
            status="dry_run" if dry_run else "success" if run.applied else "up_to_date",
            applied=tuple(Applied(name, times.get(name, 0)) for name in run.applied),
            skipped=skipped,
            pending=tuple(one.filename for one in plan.pending) if dry_run else (),
            total=len(plan.pending) + len(plan.skipped),
            total_time_ms=run.milliseconds,
        )

    async def _work(self, run: _Run, parsed: list[ParsedMigration], server_version: int) -> None:
        composer = Composer(self._history, self._lock.key, self._lock_timeout_ms, server_version)
        async with self._db.acquire() as connection:
            worker = _Worker(connection, composer, self._history, self._lock, run, last=parsed[-1])
            try:
                await worker.apply(parsed)
            except FAILURES as error:
                if not is_lost(error):
                    raise
                raise ConnectionError(
                    f"The connection was lost while migrations were applied: {error}. What was not committed is "
                    f"undone by the server; run again to find out and to go on.",
                    details={"applied": list(run.applied), "error_type": type(error).__name__},
                ) from error
            except MigrationExecutionError as error:
                # The connection is whole: the server answered.
                times = await self._history.times(connection, run.applied) if run.applied else {}
                error.applied = [{"filename": name, "execution_time_ms": times.get(name, 0)} for name in run.applied]
                raise
            finally:
                await worker.finish()


class _Worker:
    """Applies parsed migrations over one connection."""

    def __init__(
        self,
        connection: Any,
        composer: Composer,
        history: History,
        lock: MigrationLock,
        run: _Run,
        last: ParsedMigration,
    ) -> None:
        self._connection = connection
        self._composer = composer
        self._history = history
        self._lock = lock
        self._run = run
        self._last = last

    async def apply(self, parsed: Sequence[ParsedMigration]) -> None:
        waiting = list(reversed(parsed))
        while waiting:
            group = take_group(waiting)
            if not group[0].transactional:
                await self._apply_without_transaction(group[0])
            elif group[0].cheap:
                await self._apply_together(group)
            else:
                await self._apply_by_statement(group[0])
            if any(migration.changes_session for migration in group):
                await self._connection.reset(timeout=NO_TIMEOUT_S)

    async def finish(self) -> None:
        """End a transaction that was cut short, and see what was committed without waiting for the disk onto it."""
        if not is_alive(self._connection):
            return
        await self._roll_back()
        if self._run.to_be_flushed:
            await self._send(statement("locks", "flush"))
            self._run.to_be_flushed = False

    async def _apply_together(self, group: Sequence[ParsedMigration]) -> None:
        """Several cheap files in one message, a transaction each."""
        message = compose(self._composer, group, self._last)
        try:
            await self._send(message.text)
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            committed = await self._roll_back_to(message)
            self._note(group[:committed])
            self._raise_if_refused(error)
            failed, rest = group[committed], group[committed + 1 :]
            where = message.locate(int(error.position) - 1) if error.position else None
            if where is not None and where[0] is failed:
                raise self._located(error, *where) from error
            # The server does not say where: find out by running the file, which left nothing behind, by statement.
            await self._apply_by_statement(failed)
            if rest:
                await self._apply_together(rest)
        else:
            self._note(group)

    async def _roll_back_to(self, message: Message) -> int:
        """Roll back what failed of ``message``; returns how many of its migrations were committed before."""
        try:
            await self._send(statement("runner", "done"))
        except asyncpg.InvalidTextRepresentationError as answer:
            return message.committed(str(answer))
        return 0

    async def _apply_by_statement(self, migration: ParsedMigration) -> None:
        """One file in one transaction, a message per statement, so that a failure has its statement."""
        running: Statement | None = None
        try:
            await self._send(self._composer.preamble(migration, wait_for_disk=migration is self._last))
            for running in migration.statements:
                await self._send(migration.text_of(running))
            running = None
            await self._send(self._composer.ending(migration))
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            await self._roll_back()
            if running is None:
                self._raise_if_refused(error)
            raise self._as_migration_error(error, migration, running, _offset(error)) from error
        self._note((migration,))

    async def _apply_without_transaction(self, migration: ParsedMigration) -> None:
        """One file, statement by statement in autocommit, under a lock of the session."""
        connection = self._connection
        async with self._lock.held_by_session(connection):
            if migration.filename in (await self._history.applied(connection) or {}):
                raise _AlreadyAppliedError
            began = time.perf_counter()
            await self._send(statement("runner", "session_settings"))
            for running in migration.statements:
                try:
                    await self._send(migration.text_of(running))
                except asyncpg.PostgresError as error:
                    if is_lost(error):
                        raise
                    await self._roll_back()
                    raise self._as_migration_error(error, migration, running, _offset(error)) from error
            milliseconds = round((time.perf_counter() - began) * 1000)
            await self._history.record(connection, migration.filename, migration.migration.checksum, milliseconds)
            self._run.applied.append(migration.filename)
        # The settings above are the session's: nobody else may find them on this connection.
        await connection.reset(timeout=NO_TIMEOUT_S)

    async def _send(self, sql: str) -> None:
        await self._connection.execute(sql, timeout=NO_TIMEOUT_S)

    async def _roll_back(self) -> None:
        if self._connection.is_in_transaction():
            await self._send("ROLLBACK")

    def _note(self, migrations: Sequence[ParsedMigration]) -> None:
        for migration in migrations:
            self._run.applied.append(migration.filename)
            self._run.to_be_flushed = migration is not self._last

    def _raise_if_refused(self, error: asyncpg.PostgresError) -> None:
        """Tell the errors that our own statements ask for from those of the author's."""
        if isinstance(error, asyncpg.InvalidTextRepresentationError):
            if LOCK_HELD in str(error):
                raise _LockHeldError from error
            if ALREADY_APPLIED in str(error):
                raise _AlreadyAppliedError from error

    def _located(self, error: asyncpg.PostgresError, migration: ParsedMigration, offset: int) -> MigrationError:
        for candidate in migration.statements:
            if candidate.start <= offset <= candidate.end:
                return self._as_migration_error(error, migration, candidate, offset - candidate.start)
        return self._as_migration_error(error, migration, None, offset)

    def _as_migration_error(
        self, error: asyncpg.PostgresError, migration: ParsedMigration, running: Statement | None, offset: int
    ) -> MigrationError:
        message, where = str(error.args[0] if error.args else error), migration.filename
        line = column = number = None
        if running is not None:
            number = running.number
            line, column = migration.position(running.start + offset)
            where = f"{migration.filename}:{line}:{column}: statement {number}"
        parts = [f"{where}: {message} (SQLSTATE {error.sqlstate})"]
        for label, text in (("Detail", error.detail), ("Hint", error.hint), ("Context", error.context)):
            if text:
                parts.append(f"{label}: {text}")
        if running is None:
            parts.append("It failed at COMMIT, where deferred constraints are checked.")
        if migration.transactional:
            parts.append("Nothing of this file was kept.")
        elif number is not None and number > 1:
            parts.append(f"Statements 1 to {number - 1} of this file ran outside a transaction and stay done.")
        return MigrationExecutionError(
            "\n".join(parts),
            migration.filename,
            statement=number,
            line=line,
            column=column,
            sqlstate=error.sqlstate,
            sql_error=message,
            detail=error.detail,
            hint=error.hint,
            transactional=migration.transactional,
        )


def _offset(error: asyncpg.PostgresError) -> int:
    """Where in the statement the server points at, from 0."""
    return int(error.position) - 1 if error.position else 0


def take_group(waiting: list[ParsedMigration]) -> list[ParsedMigration]:
    """The next migrations of the reversed list ``waiting`` that may travel together; takes them off it."""
    group = [waiting.pop()]
    if not group[0].cheap:
        return group
    length = len(group[0].rendered.text)
    while waiting and waiting[-1].cheap and len(group) < _MOST_FILES_IN_MESSAGE:
        length += len(waiting[-1].rendered.text)
        if length > _MOST_CHARACTERS_IN_MESSAGE:
            break
        group.append(waiting.pop())
    return group
