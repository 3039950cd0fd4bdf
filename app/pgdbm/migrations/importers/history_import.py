"""Imports another tool's history of a schema."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ...core.asyncpg_errors import FAILURES
from ...core.templating import quote
from ...sql import statement
from ..manager import AsyncMigrationManager
from ..sources.names import is_repeatable_name, order_of
from ..sources.source import source_of
from ..state.history import History
from ..state.lock import MigrationLock
from .records import ImportRefusedError, Record, ToolHistory, some_of
from .tools import tool_of

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from importlib.resources.abc import Traversable

    from ...core.connection import Connection
    from ...core.manager import AsyncDatabaseManager
    from ..sources.migration import Migration
    from .tools import Tool, ToolName

OUR_COLUMNS = frozenset({"filename", "checksum", "module_name", "applied_at"})


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import wrote to the history, or a dry run would write.

    ``already_applied``: files that were in the history before. ``unmatched``: what the tool has applied but has no file
    here, by the tool's names. ``failed``: what the tool has marked as failed; a later attempt succeeded, or it is
    pending. ``checked``: imported files whose content matches the tool's checksum. ``pending``: files that apply would
    execute next. ``notes``: what to check.
    """

    imported: tuple[str, ...]
    already_applied: tuple[str, ...]
    unmatched: tuple[str, ...]
    failed: tuple[str, ...]
    checked: tuple[str, ...]
    pending: tuple[str, ...]
    notes: tuple[str, ...]


async def import_history(
    db: AsyncDatabaseManager,
    tool: ToolName,
    migrations_path: str | os.PathLike[str] | Traversable | Mapping[str, str],
    module_name: str,
    *,
    source_schema: str | None = None,
    source_table: str | None = None,
    migrations_table: str = "schema_migrations",
    lock_wait_timeout: float = 600.0,
    dry_run: bool = False,
) -> ImportReport:
    """Write what ``tool`` has applied into pgdbm's history, so that it is not pending. Executes no migration.

    ``migrations_path`` has the files for pgdbm; :func:`convert` writes them if the tool's own files cannot be used. The
    tool's table is ``source_table`` (its default name) in ``source_schema`` (the tool's default, or the schema of
    ``db``); it is read, never written. All rows are written in one transaction, under the lock that migrations of the
    module take. A repeated import adds what is new. A dry run creates and writes nothing, but refuses the same
    histories.

    Raises:
        ImportRefusedError: the tool's history does not exist, ends in a failure, or does not match the files.
        MigrationLockTimeoutError: another runner of the module held the lock for ``lock_wait_timeout`` seconds.
        ConfigurationError: there is no such tool, or an option has no effect.
    """
    found = tool_of(tool)
    manager = AsyncMigrationManager(
        db,
        migrations_path,
        module_name,
        migrations_table=migrations_table,
        lock_wait_timeout=lock_wait_timeout,
    )
    source = source_of(migrations_path)
    migrations = await asyncio.to_thread(source.collect) if source.is_slow else source.collect()
    run = _Import(
        db,
        tool,
        found,
        migrations,
        History(manager.schema, migrations_table, module_name),
        migrations_table,
        source_schema or found.SCHEMA or manager.schema,
        source_table or found.TABLE,
    )
    lock = MigrationLock(manager.schema, module_name, lock_wait_timeout)
    try:
        report = await run.read()
        if dry_run or not report.imported:
            return report
        await manager.ensure_migrations_table()
        while True:
            written = await run.write(lock.key)
            if written is not None:
                return written
            await lock.wait_until_free(db)
    except FAILURES as error:
        raise db.failure(error, f"import from {run.source}", ()) from error


class _Import:
    """One import: reads the tool's history, and writes pgdbm's."""

    def __init__(
        self,
        db: AsyncDatabaseManager,
        name: str,
        tool: Tool,
        migrations: Sequence[Migration],
        history: History,
        history_table: str,
        schema: str,
        table: str,
    ) -> None:
        self._db = db
        self._name = name
        self._tool = tool
        self._migrations = migrations
        self._history = history
        self._history_table = history_table
        self._schema = schema
        self._table = table

    @property
    def source(self) -> str:
        """The tool's table, as quoted SQL."""
        return f"{quote(self._schema)}.{quote(self._table)}"

    async def read(self) -> ImportReport:
        """The report of an import, without writing."""
        async with self._db.acquire() as connection:
            await self._check_tables(connection)
            return (await self._read(connection))[0]

    async def write(self, key: int) -> ImportReport | None:
        """Import under the lock ``key``; None if another runner holds it."""
        async with self._db.acquire() as connection, connection.transaction(isolation="read_committed"):
            if not await connection.fetchval(statement("importers", "lock"), key):
                return None
            # Only what is read under the lock counts: another import, or a migration run, may have been faster.
            report, missing = await self._read(connection)
            await connection.execute(
                statement("importers", "record", history=self._history.table),
                self._history.module,
                [record.migration.filename for record in missing],
                [record.migration.checksum for record in missing],
                [record.applied_at for record in missing],
                [record.applied_by for record in missing],
                [record.execution_time_ms for record in missing],
            )
            return report

    async def _read(self, connection: Connection) -> tuple[ImportReport, list[Record]]:
        rows = await self._tool.read(connection, self._schema, self._table)
        reading = _without_repeats(self._tool.match(rows, self._migrations))
        applied = await self._history.applied(connection) or {}
        missing = [record for record in reading.records if record.migration.filename not in applied]
        return _report(self._name, reading, missing, self._migrations, applied), missing

    async def _check_tables(self, connection: Connection) -> None:
        columns = await _columns(connection, self._schema, self._table)
        if not columns:
            schemas = [row[0] for row in await connection.fetch(statement("importers", "schemas_with"), self._table)]
            where = (
                f"There is one in schema {some_of(schemas)}: set source_schema."
                if schemas
                else "Set source_schema and source_table to where it is. Is this the database that it migrated?"
            )
            raise ImportRefusedError(f"There is no {self._name} table {self.source} here. {where}", "no_history")
        if not columns >= self._tool.COLUMNS:
            raise ImportRefusedError(
                f"{self.source} is not a table of {self._name}: it has no column "
                f"{some_of(sorted(self._tool.COLUMNS - columns))}. Set source_schema and "
                f"source_table.",
                "no_history",
            )
        ours = await _columns(connection, self._history.schema, self._history_table)
        if ours and not ours >= OUR_COLUMNS:
            raise ImportRefusedError(
                f"{self._history.table} belongs to another tool, and pgdbm's history would have the "
                f"same name. Either keep "
                f"pgdbm's history in another table, with migrations_table='pgdbm_migrations' here and wherever "
                f"migrations are applied (in pgdbm.toml: under [project]), or rename the other one (ALTER TABLE … "
                f"RENAME TO …) and give its new name as source_table.",
                "table_taken",
            )


async def _columns(connection: Connection, schema: str, table: str) -> frozenset[str]:
    return frozenset(row[0] for row in await connection.fetch(statement("importers", "columns"), schema, table))


def _without_repeats(reading: ToolHistory) -> ToolHistory:
    """With the first record of each file. A table without a unique constraint has rows twice, such as after a race."""
    firsts: dict[str, Record] = {}
    for record in reading.records:
        firsts.setdefault(record.migration.filename, record)
    return replace(reading, records=tuple(firsts.values()), checked=tuple(dict.fromkeys(reading.checked)))


def _is_done(migration: Migration, applied: Mapping[str, str]) -> bool:
    recorded = applied.get(migration.filename)
    return recorded is not None and (not migration.is_repeatable or migration.matches(recorded))


def _report(
    tool: str,
    reading: ToolHistory,
    missing: Sequence[Record],
    migrations: Sequence[Migration],
    applied: Mapping[str, str],
) -> ImportReport:
    known = [record.migration.filename for record in reading.records]
    imported = tuple(record.migration.filename for record in missing)
    names, new = frozenset(known), frozenset(imported)
    pending = [one for one in migrations if one.filename not in names and not _is_done(one, applied)]
    notes = list(reading.notes)
    newest = max((order_of(name) for name in known if not is_repeatable_name(name)), default=None)
    overtaken = [one.filename for one in pending if newest is not None and order_of(one.filename) < newest]
    if overtaken:
        notes.append(
            f"{some_of(overtaken)}: pending, although {tool} has applied newer ones. pgdbm will apply it next, unless "
            f"out_of_order is 'reject'."
        )
    return ImportReport(
        imported=imported,
        already_applied=tuple(name for name in known if name not in new),
        unmatched=reading.unmatched,
        failed=reading.failed,
        checked=tuple(name for name in reading.checked if name in new),
        pending=tuple(one.filename for one in pending),
        notes=tuple(notes),
    )
