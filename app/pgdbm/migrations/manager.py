"""AsyncMigrationManager: the migrations of one module in one manager's schema."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..core.identifiers import check_identifier
from ..core.queries import FAILURES
from ..errors import ConfigurationError, MigrationError
from .catalog import read_catalog
from .drift import drift, own_tables
from .engine import EngineOptions, MigrationEngine
from .events import Announcer
from .files import Migration, checksum_of, source_of, way_back_of
from .history import History
from .journal import Journal
from .locks import MigrationLock
from .plan import check_versions, statuses
from .results import MigrationPlan, ModuleStatus, PlannedMigration
from .verbs import Verbs

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from importlib.resources.abc import Traversable

    from ..core.manager import AsyncDatabaseManager
    from .drift import DriftReport
    from .engine import Atomic
    from .events import Listener
    from .former import Former
    from .journal import JournalEntry
    from .plan import Plan
    from .rehearsal import Rehearsal
    from .results import Applied, HistoryRow, OutOfOrder, Repair

logger = logging.getLogger("pgdbm.migrations")

_LONGEST_MODULE = 100
_LONGEST_ROLE = 63


class AsyncMigrationManager:
    """Migrations of ``module_name``, from ``migrations_path``, in the schema of ``db``.

    ``migrations_path`` is a folder, ``importlib.resources.files("mylib") / "migrations"``, or {filename: content}.
    ``module_name`` tells the migrations of several services in one schema apart; without one it is the schema, else
    ``default``, with a warning. The history is ``migrations_table`` in the same schema (``public`` without one).

    Keyword options: ``out_of_order`` ("allow" or "reject") says what becomes of a pending file that sorts before an
    applied one. ``lock_wait_timeout`` (seconds, 600) bounds the wait for another runner of the same module.
    ``lock_timeout`` (seconds, 5; None: the server's setting) bounds what a transactional statement waits for a lock
    of anybody else, and ``retry_for`` (seconds, 600; 0: never) how long a migration that met such a lock, or a
    deadlock, is tried again. Migrations have no other time limit, whatever the pool's command and statement timeouts
    are. ``on_event`` is called with every :class:`~pgdbm.migrations.events.Event`. ``snapshots`` (True): a run that
    applied something keeps a listing of the schema in a table beside the history, which :meth:`drift` compares.
    ``role``: the database role that the SQL of migrations runs as, in place of the user that we connected as; history
    and journal stay that user's. ``on_backend`` is called with the process id of the server's backend that migrations
    are about to run on, and with None when they no longer do; where there is a direct connection beside the pool, all
    of them then go over that, since a pooler's has no backend that stays.

    Raises:
        TypeError: ``schema=`` (it belongs to the database manager) or another unknown keyword.
        ConfigurationError: a value that has no meaning.
    """

    def __init__(
        self,
        db: AsyncDatabaseManager,
        migrations_path: str | os.PathLike[str] | Traversable | Mapping[str, str] = "./migrations",
        module_name: str | None = None,
        *,
        migrations_table: str = "schema_migrations",
        out_of_order: OutOfOrder = "allow",
        lock_wait_timeout: float = 600.0,
        lock_timeout: float | None = 5.0,
        retry_for: float = 600.0,
        on_event: Listener | None = None,
        snapshots: bool = True,
        role: str | None = None,
        on_backend: Callable[[int | None], None] | None = None,
        **unknown: Any,
    ) -> None:
        if "schema" in unknown:
            raise TypeError(
                "AsyncMigrationManager takes no schema: migrations go to the schema of the database manager. "
                "Use AsyncDatabaseManager(pool=pool, schema=...) or DatabaseConfig(schema=...)."
            )
        if unknown:
            raise TypeError(f"AsyncMigrationManager has no option {', '.join(map(repr, unknown))}.")
        if out_of_order not in ("allow", "reject"):
            raise ConfigurationError(f"out_of_order is {out_of_order!r}; choose 'allow' or 'reject'.", "out_of_order")
        if lock_wait_timeout < 0 or retry_for < 0 or (lock_timeout is not None and lock_timeout < 0):
            raise ConfigurationError("A timeout cannot be negative.", "lock_timeout")
        if role is not None and not 0 < len(role.encode()) <= _LONGEST_ROLE:
            raise ConfigurationError(f"role is {role!r}; a role's name has 1 to {_LONGEST_ROLE} bytes.", "role")
        if module_name is None:
            module_name = db.schema if db.schema not in (None, "public") else "default"
            logger.warning(
                "AsyncMigrationManager has no module_name and takes %r: give every service a module_name of its own, "
                "so that migrations of several services in one schema do not mix.",
                module_name,
            )
        assert module_name is not None
        if not 0 < len(module_name) <= _LONGEST_MODULE:
            raise ConfigurationError(
                f"module_name must have 1 to {_LONGEST_MODULE} characters, not {len(module_name)}.",
                "module_name",
            )
        self.db = db
        self.migrations_path = migrations_path
        self.module_name = module_name
        self.schema = db.schema or "public"
        self.migrations_table = check_identifier(migrations_table, "table")
        self._out_of_order: OutOfOrder = out_of_order
        self._history = History(self.schema, migrations_table, module_name)
        self._journal = Journal(self.schema, module_name)
        self._source = source_of(migrations_path)
        self._lock = MigrationLock(self.schema, module_name, lock_wait_timeout)
        self._engine = MigrationEngine(
            db,
            self._source,
            self._history,
            self._journal,
            self._lock,
            Announcer(self.schema, module_name, on_event),
            EngineOptions(
                out_of_order=out_of_order,
                lock_timeout=lock_timeout,
                retry_for=retry_for,
                snapshots=snapshots,
                role=role,
                on_backend=on_backend,
            ),
        )
        self._verbs = Verbs(self._engine)
        self._options: dict[str, Any] = {
            "migrations_path": migrations_path,
            "module_name": module_name,
            "migrations_table": migrations_table,
            "out_of_order": out_of_order,
            "lock_wait_timeout": lock_wait_timeout,
            "lock_timeout": lock_timeout,
            "retry_for": retry_for,
            "on_event": on_event,
            "snapshots": snapshots,
            "role": role,
            "on_backend": on_backend,
        }

    def with_options(self, **options: Any) -> Self:
        """A manager of the same module in the same schema, with other ``options``: those of the constructor."""
        return type(self)(self.db, **(self._options | options))

    async def apply_pending_migrations(
        self, dry_run: bool = False, *, target: str | None = None, atomic: Atomic = "file"
    ) -> dict[str, Any]:
        """Apply what is pending, in order; ``dry_run`` parses it and names it, and creates nothing.

        ``target``: nothing behind this version (or file name). ``atomic="all"``: one transaction for everything.

        Returns ``status`` (success, up_to_date or dry_run), ``applied`` (filename and execution_time_ms of each),
        ``skipped`` (names applied before), ``total``, and ``total_time_ms``, on a dry run ``pending`` instead.
        What was applied before a failure stays applied.

        Raises:
            MigrationFileError: a file cannot be run as it is; nothing has run.
            ChecksumMismatchError: an applied file was changed; nothing has run.
            OutOfOrderError: as the policy says; nothing has run.
            MigrationExecutionError: the server refused a statement; ``applied`` says what went before.
            MigrationLockTimeoutError: another runner held the lock for too long.
            ConnectionError: the server could not be reached, or the connection was lost.
        """
        with self._own_errors():
            result = await self._engine.apply(dry_run=dry_run, target=target, atomic=atomic)
        answer: dict[str, Any] = {
            "status": result.status,
            "applied": [
                {"filename": one.filename, "execution_time_ms": one.execution_time_ms} for one in result.applied
            ],
            "skipped": list(result.skipped),
            "total": result.total,
        }
        if dry_run:
            answer["pending"] = list(result.pending)
        else:
            answer["total_time_ms"] = result.total_time_ms
        return answer

    async def find_migration_files(self) -> list[Migration]:
        """Every migration of the source, in order, whether applied or not."""
        return list(await self._engine.collect())

    async def get_applied_migrations(self) -> dict[str, Migration]:
        """The migrations that the history has, by file name; ``content`` is empty where the file is gone."""
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
        """What :meth:`apply_pending_migrations` would apply; raises as that does for changed files."""
        with self._own_errors():
            return list((await self._engine.plan()).pending)

    async def look(self, *, target: str | None = None) -> Plan:
        """Which migrations are pending, applied, and behind ``target``. One query; parses nothing, creates nothing.

        Raises as :meth:`apply_pending_migrations` does for files that were changed or come too late.
        """
        with self._own_errors():
            return await self._engine.plan(target)

    async def apply_migration(self, migration: Migration) -> float:
        """Apply one migration, whatever else is pending; returns milliseconds. Does nothing if it is applied."""
        with self._own_errors():
            return await self._engine.apply_one(migration)

    async def get_migration_history(self, limit: int = 10) -> list[dict[str, Any]]:
        """The newest ``limit`` rows: filename, module_name, applied_at (the server's local time), applied_by,
        execution_time_ms."""
        async with self._connection() as connection:
            return await self._history.newest(connection, limit)

    async def history(self, limit: int = 20, before: int | None = None) -> list[HistoryRow]:
        """A page of the history, newest first, in UTC; ``before`` is the id of the last row of the page before."""
        with self._own_errors():
            async with self.db.acquire() as connection:
                return await self._history.page(connection, limit, before)

    async def plan(self, *, target: str | None = None, squawk: bool = True) -> MigrationPlan:
        """What apply would do now: every statement that is pending, the locks it takes, what it blocks, and findings.

        ``squawk``: its rules too, where it is installed. Creates nothing; raises as apply does for files that cannot
        be run as they are.
        """
        from .inspection import inspect  # here, since it takes as long as the rest, and few programs plan

        with self._own_errors():
            plan, server_version = await self._engine.look(target)
        parsed = await self._engine.parse(plan.pending, server_version)
        inspected = await asyncio.to_thread(inspect, parsed, server_version, schema=self.schema, squawk=squawk)
        return MigrationPlan(
            module=self.module_name,
            schema=self.schema,
            pending=tuple(
                PlannedMigration(
                    filename=one.filename,
                    version=one.migration.version,
                    checksum=one.migration.checksum,
                    transactional=one.transactional,
                    sql=tuple(map(one.text_of, one.statements)),
                    statements=found.statements,
                    findings=found.findings,
                )
                for one, found in zip(parsed, inspected, strict=True)
            ),
            skipped=tuple(one.filename for one in plan.skipped),
        )

    async def drift(self) -> DriftReport:
        """What is different in the schema now from when migrations were last applied to it. Changes nothing."""
        async with self._connection() as connection:
            return await drift(connection, self.schema, self.migrations_table)

    async def rehearse(
        self, *, target: str | None = None, timeout: float | None = 300.0, with_catalog: bool = False
    ) -> Rehearsal:
        """Build the history and what is pending in a scratch schema, and drop it: the locks really taken, the times,
        and whether it works. ``timeout`` (seconds) bounds it; ``with_catalog`` adds a listing of what was built.

        Raises as apply does for files that cannot be run as they are; a statement that fails is data.
        """
        from .rehearse import rehearse  # here, as few programs rehearse

        with self._own_errors():
            return await rehearse(
                self.db,
                await self._engine.collect(),
                self._history,
                out_of_order=self._out_of_order,
                target=target,
                timeout=timeout,
                lock_timeout=self._engine.options.lock_timeout,
                role=self._engine.options.role,
                with_catalog=with_catalog,
            )

    async def baseline(self, version: str, *, check: bool = True) -> list[str]:
        """Take every migration up to ``version`` for applied, where the history begins; returns their names.

        ``check``: build what they would build in a scratch schema first, and compare it with what is there.

        Raises:
            BaselineMismatchError: the schema is not what they would build; ``changes`` says what differs.
            MigrationError: there is no such version, or the history has begun already.
        """
        with self._own_errors():
            return await self._verbs.baseline(version, partial(self._check_baseline, version) if check else None)

    async def _check_baseline(self, version: str) -> None:
        from .baseline import require_same  # here, as few programs begin with a baseline

        rehearsal = await self.rehearse(target=version, with_catalog=True)
        async with self._connection() as connection:
            found = await read_catalog(connection, self.schema, own_tables([self.migrations_table]))
        require_same(rehearsal, found, self.schema, version)

    async def revert(self, steps: int = 1) -> list[Applied]:
        """Run the ``NAME.down.sql`` of the ``steps`` newest applied migrations, newest first, each a transaction.

        One with ``-- pgdbm:no-transaction`` goes on where an earlier call stopped in it.

        Raises:
            MigrationError: there are fewer, or one has no such file; nothing has run.
            MigrationExecutionError: a statement failed; what was reverted before it stays reverted.
            MigrationUnknownError: an earlier call died under a statement, and nothing tells whether it was done.
        """
        with self._own_errors():
            return await self._verbs.revert(steps)

    async def mark(self, filename: str, *, applied: bool) -> None:
        """Write into the history that ``filename`` is applied, or take it out. Runs no SQL of it; journalled."""
        with self._own_errors():
            await self._verbs.mark(filename, applied=applied)

    async def repair(self, *, accept: bool = False, former: Former | None = None) -> list[Repair]:
        """The applied files whose content has changed; ``accept`` takes what they hold now for applied. Journalled.

        ``former`` (a mapping by checksum, or a function of file name and checksum, called in a thread) knows what they
        held, for a ``diff`` in each answer; :func:`~pgdbm.migrations.former.in_git` asks a repository.
        """
        with self._own_errors():
            return await self._verbs.repair(accept=accept, former=former)

    async def resolve_statement(self, filename: str, statement: int, *, done: bool) -> None:
        """Say whether a statement outside a transaction, whose outcome is unknown, was done. Then run again.

        Raises:
            MigrationError: the journal knows of no unknown outcome there.
        """
        with self._own_errors():
            await self._verbs.resolve(filename, statement, done=done)

    async def journal(self, limit: int = 50) -> list[JournalEntry]:
        """What happened besides success, newest first: attempts, failures, statements outside transactions."""
        async with self._connection() as connection:
            return await self._journal.entries(connection, limit)

    async def status(self) -> ModuleStatus:
        """Where every migration stands. Two queries; creates nothing.

        Raises:
            MigrationFileError: a file cannot be read, or a pending one has the version of another.
        """
        migrations = await self._engine.collect()
        async with self._connection() as connection:
            rows = await self._history.rows(connection)
            outcomes = await self._journal.latest(connection)
        applied = {row.filename for row in rows}
        check_versions(migrations, {one.filename for one in migrations if one.filename not in applied})
        found = statuses(migrations, rows, self._out_of_order, outcomes)
        return ModuleStatus(self.module_name, self.schema, found)

    async def ensure_migrations_table(self) -> None:
        """Create the schema and the history table where they are missing."""
        with self._own_errors():
            await self._history.create(self.db)

    async def create_migration(self, name: str, content: str, auto_transaction: bool = True) -> str:
        """Write a new file ``YYYYMMDDHHMMSS_name.sql`` and return its path.

        Raises:
            MigrationError: migrations do not come from a folder, the name holds nothing usable, or the file exists.
        """
        if not isinstance(self.migrations_path, str | Path):
            raise MigrationError("Migrations that do not come from a folder cannot be created here.")
        stem = "_".join(part for part in "".join(c if c.isalnum() else " " for c in name.lower()).split())
        if not stem:
            raise MigrationError(f"{name!r} has no letter or digit to name a file with.")
        folder = Path(self.migrations_path)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{datetime.now(UTC):%Y%m%d%H%M%S}_{stem}.sql"
        head = "" if auto_transaction else "-- pgdbm:no-transaction\n"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(head + content.strip() + "\n")
        except FileExistsError as error:
            raise MigrationError(f"{path} exists already.", path.name) from error
        return str(path)

    async def rollback_migration(self, filename: str) -> None:
        """Forget that ``filename`` was applied. Runs no SQL: what it made stays.

        Raises:
            MigrationError: the history does not have it.
        """
        async with self._connection() as connection:
            if not await self._history.forget(connection, filename):
                raise MigrationError(f"{filename} is not in the history of module {self.module_name!r}.", filename)
            # A way back that was begun is over: should the file be applied again, it begins anew.
            if await self._journal.statements(connection, way_back_of(filename)):
                await self._journal.note(connection, filename, "unmarked")

    def calculate_checksum(self, content: str) -> str:
        """The checksum that the history holds for ``content``."""
        return checksum_of(content)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        async with self.db.acquire() as connection:
            with self._own_errors():
                yield connection

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """What the server says about the history table, as errors of ours."""
        try:
            yield
        except FAILURES as error:
            raise self.db.failure(error, self._history.table, ()) from error
