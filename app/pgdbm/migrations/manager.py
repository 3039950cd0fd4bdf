"""AsyncMigrationManager: the migrations of one module in one manager's schema.

What most calls do not need is imported lazily: a command that finds nothing to apply spends most of its time on
imports.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..core.queries import AllErrors
from ..core.templating import is_identifier
from ..errors import ConfigurationError, MigrationError
from .engine.announcer import Announcer
from .engine.engine import MigrationEngine
from .engine.options import EngineOptions, check_options, default_module
from .results import NO_LIMITS
from .sources.migration import Migration, check_versions, checksum_of
from .sources.names import down_name_of
from .sources.source import source_of
from .state.history import History
from .state.journal import Journal
from .state.lock import MigrationLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from importlib.resources.abc import Traversable

    from ..core.connection import Connection
    from ..core.manager import AsyncDatabaseManager
    from .engine.backfill_control import Backfills
    from .engine.blockers import BlockerPolicy
    from .engine.engine import Atomic
    from .engine.events import Listener
    from .engine.migration_plan import MigrationPlan
    from .engine.plan import Plan, ReadPlan
    from .engine.statuses import ModuleStatus
    from .operations import Operations
    from .rehearsal.results import Rehearsal
    from .results import Applied, HistoryRow, Notice, OutOfOrder, PlanLimits, Repair
    from .sources.previous import PreviousContents
    from .state.drift import DriftReport
    from .state.journal_entries import JournalEntry

_LONGEST_MODULE = 100


class AsyncMigrationManager:
    """Migrations of ``module_name``, from ``migrations_path``, in the schema of ``db``.

    ``migrations_path`` is a folder, ``importlib.resources.files("mylib") / "migrations"``, or {filename: content},
    where the content may also be a Migration.
    ``module_name`` separates the migrations of several services in one schema. It defaults to the schema, or to
    ``default`` without one; both with a warning. The history is ``migrations_table`` in the same schema (``public``
    without one). ``db_manager`` is another name for ``db``.

    Keyword options; times are in seconds:

    - ``out_of_order``: ``"allow"`` or ``"reject"`` a pending file that sorts before an applied one.
    - ``lock_wait_timeout`` (600) limits the wait for another runner of the module, or for the history table.
    - ``lock_timeout`` (5; None: the server's setting; 0: no limit) limits how long a transactional statement waits for
      a lock. Migrations have no other time limit, regardless of the pool's timeouts.
    - ``retry_for`` (600; 0: never): how long a migration is retried after a lock timeout, a deadlock or a
      serialization failure.
    - ``on_event`` is called with every :class:`~pgdbm.migrations.engine.events.Event`, ``on_notice`` with every
      :class:`~pgdbm.migrations.results.Notice` of the server, up to a hundred in a run. Exceptions that they raise are
      logged.
    - ``on_backend`` is called with the process id of the backend before it migrates, and with None afterwards. If a
      direct connection is configured beside the pool, it is then used, because a pooler's backends change.
    - ``snapshots`` (True): a run that applied something stores a listing of the schema in a table beside the history,
      for :meth:`drift` to compare with.
    - ``role``: the database role that the files run as, instead of the connecting user, which writes the history and
      the journal.
    - ``limits`` (PlanLimits): what pending migrations may do. :meth:`apply_pending_migrations` refuses the others;
      :meth:`apply_migration` does not check it.
    - ``end_blockers`` (BlockerPolicy): which sessions that block a migration are ended.
    - ``defer_background`` leaves out backfills in the background, and the files that require them. :attr:`backfills`
      pauses, resumes and limits them.

    Raises:
        TypeError: ``schema=``, which belongs to the database manager, or another unknown keyword.
        ConfigurationError: an invalid value.
        MigrationError: ``migrations_table`` is not an identifier.
    """

    def __init__(
        self,
        db: AsyncDatabaseManager | None = None,
        migrations_path: str | os.PathLike[str] | Traversable | Mapping[str, str | Migration] = "./migrations",
        module_name: str | None = None,
        *,
        db_manager: AsyncDatabaseManager | None = None,
        migrations_table: str = "schema_migrations",
        out_of_order: OutOfOrder = "allow",
        lock_wait_timeout: float = 600.0,
        lock_timeout: float | None = 5.0,
        retry_for: float = 600.0,
        on_event: Listener | None = None,
        on_notice: Callable[[Notice], None] | None = None,
        snapshots: bool = True,
        role: str | None = None,
        on_backend: Callable[[int | None], None] | None = None,
        defer_background: bool = False,
        limits: PlanLimits = NO_LIMITS,
        end_blockers: BlockerPolicy | None = None,
        **unknown: object,
    ) -> None:
        if "schema" in unknown:
            raise TypeError(
                "AsyncMigrationManager takes no schema: migrations go to the schema of the database manager. "
                "Use AsyncDatabaseManager(pool=pool, schema=...) or DatabaseConfig(schema=...)."
            )
        if unknown:
            raise TypeError(f"AsyncMigrationManager has no option {', '.join(map(repr, unknown))}.")
        db = db if db is not None else db_manager
        if db is None:
            raise TypeError("AsyncMigrationManager needs a database manager as its first argument.")
        timeouts = {"lock_wait_timeout": lock_wait_timeout, "lock_timeout": lock_timeout, "retry_for": retry_for}
        check_options(out_of_order, timeouts, role)
        self.db = db
        self.migrations_path = migrations_path
        self.module_name = module_name or default_module(db.schema)
        if len(self.module_name) > _LONGEST_MODULE:
            raise ConfigurationError(
                f"module_name must have 1 to {_LONGEST_MODULE} characters, not {len(self.module_name)}.",
                "module_name",
            )
        self.schema = db.schema or "public"
        if not is_identifier(migrations_table):
            raise MigrationError(f"Invalid migrations table name: {migrations_table!r}")
        self.migrations_table = migrations_table
        self._out_of_order: OutOfOrder = out_of_order
        self._limits = limits
        self._history = History(self.schema, migrations_table, self.module_name)
        self._journal = Journal(self.schema, self.module_name, role)
        self._engine = MigrationEngine(
            db,
            source_of(migrations_path),
            self._history,
            self._journal,
            MigrationLock(self.schema, self.module_name, lock_wait_timeout),
            Announcer(self.schema, self.module_name, on_event),
            EngineOptions(
                out_of_order=out_of_order,
                lock_timeout=lock_timeout,
                retry_for=retry_for,
                snapshots=snapshots,
                role=role,
                on_backend=on_backend,
                on_notice=on_notice,
                defer_background=defer_background,
                end_blockers=end_blockers,
            ),
        )
        self._options: dict[str, Any] = self._engine.options._asdict() | {
            # Reading files in memory again would take longer than anything else here.
            "migrations_path": self._engine.source,
            "module_name": self.module_name,
            "migrations_table": migrations_table,
            "lock_wait_timeout": lock_wait_timeout,
            "on_event": on_event,
            "limits": limits,
        }
        del self._options["reconnect_for"]

    @cached_property
    def _operations(self) -> Operations:
        from .operations import Operations

        return Operations(self._engine)

    @cached_property
    def backfills(self) -> Backfills:
        """Pauses, resumes and limits backfills, and lists them."""
        from .engine.backfill_control import Backfills

        return Backfills(self._engine)

    def with_options(self, **options: Any) -> Self:
        """A manager of the same module in the same schema, with these ``options`` of the constructor changed."""
        changed = type(self)(self.db, **(self._options | options))
        changed.migrations_path = options.get("migrations_path", self.migrations_path)
        return changed

    async def apply_pending_migrations(
        self,
        dry_run: bool = False,
        *,
        target: str | None = None,
        atomic: Atomic = "file",
        plan: str | None = None,
        known: ReadPlan | None = None,
    ) -> dict[str, Any]:
        """Apply what is pending, in order. ``dry_run`` parses and lists it, and creates nothing.

        ``target``: nothing after this version (or file name). ``atomic="all"``: one transaction for everything.
        ``plan``: the digest of the only plan that may be applied; it is compared again under the lock. ``known``: what
        :meth:`read_plan` has just returned for the same target, so that it is not read again.

        Returns ``status`` (success, up_to_date or dry_run), ``applied`` (filename and execution_time_ms of each),
        ``skipped`` (names applied before), ``total``, and ``total_time_ms``, on a dry run ``pending`` instead. If there
        are any: ``renamed`` (filename and applied_as of each file that was applied under another name, and is not run
        again), ``notices`` (filename, severity, sqlstate and message of the first hundred) and ``omitted_notices`` (the
        number of the others). What was applied before a failure remains applied.

        Raises:
            MigrationFileError: a file cannot be run as written; nothing has run.
            ChecksumMismatchError: an applied file was changed; nothing has run.
            OutOfOrderError: a file sorts before an applied one; nothing has run.
            PlanRefusedError: ``limits`` do not allow what is pending; nothing has run.
            PlanMovedError: the pending migrations differ from ``plan``.
            MigrationExecutionError: the server rejected a statement; ``applied`` lists what was applied before it.
            MigrationLockTimeoutError: another runner held the lock for too long.
            ConnectionError: the server could not be reached, or the connection was lost.
        """
        with self._own_errors():
            if not dry_run:
                await self._require_allowed(target)
            result = await self._engine.apply(dry_run=dry_run, target=target, atomic=atomic, digest=plan, known=known)
        return result.to_dict()

    async def find_migration_files(self) -> list[Migration]:
        """Every migration of the source, in order."""
        return list(await self._engine.collect())

    async def get_applied_migrations(self) -> dict[str, Migration]:
        """The applied migrations by file name; ``content`` is empty if there is no file."""
        contents = {migration.filename: migration.content for migration in await self._engine.collect()}
        async with self._connection() as connection:
            rows = await self._history.rows(connection)
        return {
            row.filename: Migration(
                row.filename, row.checksum, contents.get(row.filename, ""), row.applied_at, row.module_name
            )
            for row in rows
        }

    async def get_pending_migrations(self) -> list[Migration]:
        """What :meth:`apply_pending_migrations` would apply. Raises the same for changed files."""
        with self._own_errors():
            return list((await self._engine.plan()).pending)

    async def plan_pending(self, *, target: str | None = None) -> Plan:
        """The pending and the applied migrations, and those after ``target``. One query; parses and creates nothing.

        Raises the same as :meth:`apply_pending_migrations` for changed files and for files out of order.
        """
        return (await self.read_plan(target=target)).plan

    async def read_plan(self, *, target: str | None = None) -> ReadPlan:
        """:meth:`plan_pending`, with what the plan was made from."""
        with self._own_errors():
            return await self._engine.read_plan(target)

    async def apply_migration(self, migration: Migration) -> float:
        """Apply one migration, whatever else is pending. Returns milliseconds; 0 if it was applied already."""
        with self._own_errors():
            return await self._engine.apply_one(migration)

    async def get_migration_history(self, limit: int = 10) -> list[dict[str, Any]]:
        """The newest ``limit`` rows: filename, module_name, applied_at (naive UTC), applied_by, execution_time_ms."""
        async with self._connection() as connection:
            return await self._history.newest(connection, limit)

    async def history(self, limit: int = 20, before: int | None = None) -> list[HistoryRow]:
        """A page of the history, newest first, in UTC; ``before`` is the id of the last row of the page before."""
        with self._own_errors():
            async with self.db.acquire() as connection:
                return await self._history.page(connection, limit, before)

    async def plan(self, *, target: str | None = None, squawk: bool = True) -> MigrationPlan:
        """The pending statements with the locks they take, what those block, and the findings of the linter.

        ``squawk``: with the findings of squawk, if it is installed. Creates nothing. Raises the same as apply for files
        that cannot run.
        """
        from .engine.inspection import inspect_pending

        with self._own_errors():
            return await inspect_pending(self._engine, target, squawk=squawk, limits=self._limits)

    async def require_allowed(self, *, target: str | None = None) -> None:
        """Raise PlanRefusedError if ``limits`` do not allow what is pending up to ``target``."""
        with self._own_errors():
            await self._require_allowed(target)

    async def _require_allowed(self, target: str | None) -> None:
        if self._limits != NO_LIMITS:
            from .engine.inspection import require_allowed  # imported lazily: few modules have limits

            await require_allowed(self._engine, target, self._limits)

    async def drift(self) -> DriftReport:
        """The changes in the schema since migrations were last applied to it. Changes nothing."""
        from .state.drift import drift

        async with self._connection() as connection:
            return await drift(connection, self.schema, self.migrations_table)

    async def rehearse(
        self,
        *,
        target: str | None = None,
        timeout: float | None = 300.0,
        with_catalog: bool = False,
        fix: bool = False,
    ) -> Rehearsal:
        """Apply the history and what is pending in a scratch schema, and drop it: whether it works, the locks that were
        taken, and the times. ``timeout`` (seconds) limits it; ``with_catalog`` adds a listing of the objects.

        ``fix``: run the fixes of the pending files in another scratch schema, and compare what both build.

        Raises the same as apply for files that cannot run. A statement that fails is part of the result.
        """
        from .rehearsal.module import rehearse_pending  # imported lazily: few programs rehearse

        with self._own_errors():
            return await rehearse_pending(
                self._engine,
                self._limits,
                target=target,
                timeout=timeout,
                with_catalog=with_catalog,
                fix=fix,
            )

    async def baseline(self, version: str, *, check: bool = True) -> list[str]:
        """Record every migration up to ``version`` as applied, as the start of the history. Returns their names.

        ``check``: apply them in a scratch schema first, and compare that with the schema.

        Raises:
            BaselineMismatchError: the schema is not what they would build; ``changes`` says what differs.
            MigrationError: there is no such version, or the history is not empty.
        """

        async def require_same() -> None:
            from .rehearsal.module import require_baseline  # imported lazily: few programs begin with a baseline

            await require_baseline(self._engine, version)

        with self._own_errors():
            return await self._operations.baseline(version, require_same if check else None)

    async def revert(self, steps: int = 1) -> list[Applied]:
        """Run the ``NAME.down.sql`` of the ``steps`` newest applied migrations, newest first.

        Each runs in a transaction, or with ``-- pgdbm:no-transaction`` statement by statement, resumable.

        Raises:
            MigrationError: there are fewer, or one has no such file; nothing has run.
            MigrationExecutionError: a statement failed; what was reverted before remains reverted.
            MigrationUnknownError: an earlier call died during a statement, and its outcome cannot be determined.
        """
        with self._own_errors():
            return await self._operations.revert(steps)

    async def mark(self, filename: str, *, applied: bool) -> None:
        """Record ``filename`` as applied, or delete its record. Does not run its SQL; recorded in the journal."""
        with self._own_errors():
            await self._operations.mark(filename, applied=applied)

    async def repair(self, *, accept: bool = False, previous: PreviousContents | None = None) -> list[Repair]:
        """The applied files whose content has changed. ``accept`` records their current checksums, and writes to the
        journal.

        ``previous`` (a mapping by checksum, or a function of file name and checksum, called in a thread) returns what
        they contained, for a ``diff`` in each answer; :func:`~pgdbm.migrations.sources.previous.from_git` reads a git
        repository.
        """
        from .operations import repairs_of

        with self._own_errors():
            changed = await self._operations.repair(accept=accept)
        return await asyncio.to_thread(repairs_of, changed, previous)

    async def resolve_statement(self, filename: str, statement: int, *, done: bool) -> None:
        """Record whether a statement outside a transaction, whose outcome is unknown, took effect. Then run again.

        Raises:
            MigrationError: the outcome of that statement is known.
        """
        with self._own_errors():
            await self._operations.resolve(filename, statement, done=done)

    async def journal(self, limit: int = 50, before: int | None = None) -> list[JournalEntry]:
        """The journal, newest first: attempts, failures, statements outside transactions, manual decisions."""
        async with self._connection() as connection:
            return await self._journal.entries(connection, limit, before)

    async def status(self) -> ModuleStatus:
        """The state of every migration. Two queries; creates nothing.

        Raises:
            MigrationFileError: a file cannot be read, or a pending one has the version of another.
        """
        migrations = await self._engine.collect()
        async with self._connection() as connection:
            rows = await self._history.rows(connection)
            events = await self._journal.latest(connection)
        applied = {row.filename for row in rows}
        check_versions(migrations, {one.filename for one in migrations if one.filename not in applied})
        from .engine.statuses import ModuleStatus, statuses

        found = statuses(migrations, rows, self._out_of_order, events)
        return ModuleStatus(self.module_name, self.schema, found)

    async def ensure_migrations_table(self) -> None:
        """Create the schema and the history table unless they exist."""
        with self._own_errors():
            await self._engine.create_tables()

    async def create_migration(self, name: str, content: str, auto_transaction: bool = True) -> str:
        """Write a new file ``YYYYMMDDHHMMSS_name.sql`` with ``content``, and return its path.

        ``auto_transaction`` has no effect: the marker ``-- pgdbm:no-transaction`` is part of the content.

        Raises:
            MigrationError: migrations do not come from a folder, the name has no letter or digit, or the file exists.
        """
        if not isinstance(self.migrations_path, str | os.PathLike):
            raise MigrationError("Migrations that do not come from a folder cannot be created here.")
        from .sources.new_files import write_migration

        return str(write_migration(Path(self.migrations_path), name, content))

    async def rollback_migration(self, filename: str) -> None:
        """Delete the record of ``filename`` from the history. Runs no SQL.

        Raises:
            MigrationError: the history does not have it.
        """
        async with self._connection() as connection:
            if not await self._history.delete(connection, filename):
                raise MigrationError(f"{filename} is not in the history of module {self.module_name!r}.", filename)
            # A down migration that stopped does not resume after another apply: it starts from the beginning.
            if await self._journal.statements(connection, down_name_of(filename)):
                await self._journal.record(connection, filename, "unmarked")

    def calculate_checksum(self, content: str) -> str:
        """The checksum that the history has for ``content``."""
        return checksum_of(content)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        async with self.db.acquire() as connection:
            with self._own_errors():
                yield connection

    def _own_errors(self) -> AllErrors:
        return AllErrors(self.db, self._history.table, ())
