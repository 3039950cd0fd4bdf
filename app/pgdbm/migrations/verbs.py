"""What people decide about the history: revert, mark, repair, baseline; under the module's lock, and journalled."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from ..core.pool import is_alive, is_lost
from ..errors import MigrationError
from .autocommit import revert_without_transaction
from .failures import LockHeldError, execution_error, offset_of, raise_if_refused
from .files import is_repeatable_name, order_of, way_back_of
from .message import Composer
from .parser import parse
from .results import Applied, Repair
from .session import NO_TIMEOUT_S, Run, as_role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from .engine import MigrationEngine
    from .files import Migration
    from .former import Former
    from .journal import StatementRecord
    from .parser import ParsedMigration, Statement


@dataclass(frozen=True, slots=True)
class Verbs:
    """The verbs over one engine: its database, source, history, journal and lock."""

    engine: MigrationEngine

    async def mark(self, filename: str, *, applied: bool) -> None:
        """Write that ``filename`` is applied, or that it is not. No SQL of it runs.

        Raises:
            MigrationError: there is no such file, or it is as it is said to be already.
        """
        migrations = {one.filename: one for one in await self.engine.collect()}
        if applied and filename not in migrations:
            raise MigrationError(f"There is no migration {filename!r} to mark as applied.", filename)
        history = self.engine.history

        async def look(connection: Any) -> None:
            if (filename in (await history.applied(connection) or {})) == applied:
                raise MigrationError(f"{filename} is {'' if applied else 'not '}in the history already.", filename)

        async def write(connection: Any) -> None:
            await look(connection)
            if applied:
                await history.mark(connection, filename, migrations[filename].checksum)
            else:
                await history.forget(connection, filename)
            await self.engine.journal.note(connection, filename, "marked" if applied else "unmarked")

        # What is refused makes no history, and no schema.
        async with self.engine.db.acquire() as connection:
            await look(connection)
        await self._ensure_history()
        await self._under_lock(write)

    async def resolve(self, filename: str, statement: int, *, done: bool) -> None:
        """Say whether a statement outside a transaction, whose outcome is unknown, was done.

        Raises:
            MigrationError: the journal knows of no unknown outcome there.
        """
        journal = self.engine.journal

        async def unknown(connection: Any) -> StatementRecord:
            record = (await journal.statements(connection, filename)).get(statement)
            if record is None or record.outcome != "begun":
                raise MigrationError(f"{filename}: the outcome of statement {statement} is not unknown.", filename)
            return record

        async def write(connection: Any) -> None:
            record = await unknown(connection)
            await journal.end(connection, record.id, "done" if done else "failed")

        # Where there is nothing to be said, there may be neither a journal nor a schema.
        async with self.engine.db.acquire() as connection:
            await unknown(connection)
        # Under the lock, since a runner that is at work has statements that are begun, too.
        await self._under_lock(write)

    async def repair(self, *, accept: bool = False, former: Former | None = None) -> list[Repair]:
        """The applied migrations whose content has changed; with ``accept`` their present content is taken for it."""
        history = self.engine.history
        found: list[tuple[Migration, str]] = []
        migrations = await self.engine.collect()

        async def compare(connection: Any, *, write: bool) -> None:
            found.clear()
            recorded = await history.applied(connection) or {}
            for migration in migrations:
                before = recorded.get(migration.filename)
                if before in (None, migration.checksum) or migration.is_repeatable:
                    continue
                assert before is not None
                found.append((migration, before))
                if write:
                    await history.accept(connection, migration.filename, migration.checksum)
                    message = f"checksum {before} became {migration.checksum}"
                    await self.engine.journal.note(connection, migration.filename, "repaired", message=message)

        async with self.engine.db.acquire() as connection:
            await compare(connection, write=False)
        if accept and found:
            await self._under_lock(partial(compare, write=True))

        from .former import diff_to  # here, as few programs repair

        def differences() -> list[Repair]:
            return [
                Repair(
                    one.filename,
                    before,
                    one.checksum,
                    diff_to(one.filename, before, one.checksum, one.content, former),
                )
                for one, before in found
            ]

        return await asyncio.to_thread(differences)

    async def baseline(self, version: str, check: Callable[[], Awaitable[None]] | None) -> list[str]:
        """Take every migration up to ``version`` for applied; returns their names. ``check`` may refuse by raising.

        Raises:
            MigrationError: there is no such version, or the history has begun already.
        """
        plan = await self.engine.plan(target=version)
        if plan.skipped:
            raise MigrationError(
                f"A baseline is where a history begins, and this one has {len(plan.skipped)} migrations already. "
                f"Use mark() for single ones."
            )
        skipped = [migration for migration in plan.pending if not migration.is_repeatable]
        if check is not None:
            await check()
        await self._ensure_history()

        async def write(connection: Any) -> None:
            recorded = await self.engine.history.applied(connection) or {}
            if recorded:
                raise MigrationError("Another session began this history a moment ago: look at it first.")
            for migration in skipped:
                await self.engine.history.mark(connection, migration.filename, migration.checksum)
                await self.engine.journal.note(connection, migration.filename, "baselined")

        await self._under_lock(write)
        return [migration.filename for migration in skipped]

    async def revert(self, steps: int) -> list[Applied]:
        """Run the ``.down.sql`` files of the ``steps`` newest applied migrations, newest first, each a transaction.

        One with ``-- pgdbm:no-transaction`` goes on where an earlier call stopped in it.

        Raises:
            MigrationError: there are fewer, or one has no way back; nothing has run.
            MigrationExecutionError: a statement failed; what was reverted before it stays reverted.
            MigrationUnknownError: an earlier call died under a statement, and nothing tells whether it was done.
        """
        async with self.engine.db.acquire() as connection:
            applied = await self.engine.history.applied(connection) or {}
            server_version = connection.get_server_version().major
        names = sorted((name for name in applied if not is_repeatable_name(name)), key=order_of, reverse=True)
        if not 0 < steps <= len(names):
            raise MigrationError(f"Cannot revert {steps} migrations: {len(names)} are applied.")
        ways_back: list[tuple[str, ParsedMigration]] = []
        for name in names[:steps]:
            migration = self.engine.source.way_back(name)
            if migration is None:
                raise MigrationError(
                    f"{name} has no way back: write {way_back_of(name)} beside it, or undo it with a new migration.",
                    name,
                )
            ways_back.append((name, parse(migration, self.engine.history.schema, server_version)))
        done: list[Applied] = []
        for name, way_back in ways_back:
            began = time.perf_counter()
            await self._revert_one(name, way_back)
            done.append(Applied(name, round((time.perf_counter() - began) * 1000)))
        if self.engine.options.snapshots:
            async with self.engine.db.acquire() as connection:
                await self.engine.keep_snapshot(connection)
        return done

    async def _revert_one(self, name: str, way_back: ParsedMigration) -> None:
        engine = self.engine
        if not way_back.transactional:
            async with engine.db.acquire_direct() as connection:
                await revert_without_transaction(engine.session(connection, Run(), way_back), name, way_back)
            return

        async def write(connection: Any) -> None:
            if name not in (await engine.history.applied(connection) or {}):
                raise MigrationError(f"Another session reverted {name} a moment ago.", name)
            async with as_role(connection, engine.options.role):
                await self._run_way_back(connection, way_back)
            await engine.history.forget(connection, name)
            await engine.journal.note(connection, name, "reverted")

        await self._under_lock(write)

    async def _run_way_back(self, connection: Any, way_back: ParsedMigration) -> None:
        """Where a statement fails, the end of the transaction is enough."""
        running: Statement | None = None
        try:
            for running in way_back.statements:
                await connection.execute(way_back.text_of(running), timeout=NO_TIMEOUT_S)
        except asyncpg.PostgresError as error:
            if is_lost(error):
                raise
            raise execution_error(error, way_back, running, offset_of(error)) from error

    async def _ensure_history(self) -> None:
        await self.engine.history.create(self.engine.db)

    async def _under_lock(self, work: Callable[[Any], Awaitable[None]]) -> None:
        """Do ``work`` in a transaction that holds the module's lock; waits for another runner first."""
        while True:
            try:
                async with self._locked() as connection:
                    await work(connection)
            except LockHeldError:
                await self.engine.lock.wait_until_free(self.engine.db)
            else:
                return

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[Any]:
        engine = self.engine
        async with engine.db.acquire() as connection:
            # Before the transaction, since two sessions that make it at once fail inside of one.
            await engine.journal.create(connection)
            timeout = engine.options.lock_timeout
            composer = Composer(
                engine.history,
                engine.lock.key,
                None if timeout is None else round(timeout * 1000),
                connection.get_server_version().major,
            )
            try:
                await connection.execute(composer.opening(), timeout=NO_TIMEOUT_S)
                yield connection
                await connection.execute("COMMIT", timeout=NO_TIMEOUT_S)
            except asyncpg.PostgresError as error:
                raise_if_refused(error)
                raise
            finally:
                if is_alive(connection) and connection.is_in_transaction():
                    await connection.execute("ROLLBACK", timeout=NO_TIMEOUT_S)
