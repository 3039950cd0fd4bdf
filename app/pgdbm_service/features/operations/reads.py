"""Operations that only read: plan, drift, journal, ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pgdbm.migrations.sources.names import is_repeatable_name, order_of

from ...api.operations import Change, Drift, JournalEntry, JournalList, ModuleReady
from ...api.plans import Finding, Fix, Plan, PlannedLock, PlannedMigration, PlannedStatement, Refusal
from ...api.runs import RenamedMigration
from ...database.failures import service_error_of
from ...database.pool import within_timeout
from ...errors import ServiceError, did_you_mean
from ...registry.modules import without_files
from ...status.invalid_indexes import InvalidIndex, invalid_indexes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pgdbm.migrations import AsyncMigrationManager, MigrationStatus
    from pgdbm.migrations.engine.migration_plan import MigrationPlan
    from pgdbm.migrations.engine.migration_plan import PlannedMigration as LibraryPlanned
    from pgdbm.migrations.lint import StatementLock, TableUse

    from ...database.pool import Database
    from ...status.module_lookup import ModuleLookup

# States of migrations that were applied: "changed" and "missing" concern only the file.
_IN_THE_DATABASE = frozenset({"applied", "baseline", "changed", "missing", "ahead"})


class OperationQueries:
    """Each method raises a ServiceError, or what the database raises.

    ``on_drift`` is called after each successful comparison, with the module, the schema, and what was found.
    """

    def __init__(
        self,
        database: Database,
        lookup: ModuleLookup,
        on_drift: Callable[[str, str, Drift], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._lookup = lookup
        self._on_drift = on_drift

    async def plan(self, name: str, schema: str | None, target: str | None) -> Plan:
        try:
            module = await self._lookup.get(name, latest=True)
            manager = await self._lookup.reader(module, schema)
            # Another session may have locked the history. Linting many files may take longer than the time limit of a
            # query.
            await self._database.with_timeout(manager.plan_pending(target=target))
            plan = _plan(await manager.plan(target=target))
            warnings = [without_files(module.name)] if module.is_empty else []
            indexes = await invalid_indexes(self._database.manager())
            warnings += [_invalid_index(one) for one in indexes if one.schema == plan.schema]
            if warnings:
                plan.warnings = warnings
            return plan
        except Exception as error:
            raise service_error_of(error).with_fields(module=name) from error

    @within_timeout
    async def drift(self, name: str, schema: str | None) -> Drift:
        manager = await self._manager(name, schema)
        report = await manager.drift()
        found = Drift(
            clean=report.clean,
            since=report.since,
            module=report.module,
            reason=report.reason,
            changes=[msgspec.convert(change, Change, from_attributes=True) for change in report.changes],
        )
        if self._on_drift is not None and (found.clean or found.changes):
            await self._on_drift(found.module or name, manager.schema, found)
        return found

    @within_timeout
    async def journal(
        self, name: str, schema: str | None, limit: int, before: int | None = None
    ) -> tuple[JournalList, int | None]:
        """A page, and the id before which the next one starts."""
        entries = await (await self._manager(name, schema)).journal(limit + 1, before)
        items = [msgspec.convert(entry, JournalEntry, from_attributes=True) for entry in entries[:limit]]
        return JournalList(items), items[-1].id if len(entries) > limit else None

    @within_timeout
    async def ready(self, name: str, schema: str | None, require: str | None) -> ModuleReady:
        """Whether the migrations up to the version, or file, ``require`` (default: all) are applied in ``schema``.

        Default: in each of the module's schemas.

        Raises:
            ServiceError: not_migrated.
        """
        module = await self._lookup.get(name)
        places = (schema,) if schema is not None or module.schemas is None else module.schemas
        found = [await self._ready_in(await self._lookup.reader(module, place), require) for place in places]
        return found[0]

    async def _manager(self, name: str, schema: str | None) -> AsyncMigrationManager:
        return await self._lookup.reader(await self._lookup.get(name, or_history=True), schema)

    async def _ready_in(self, manager: AsyncMigrationManager, require: str | None) -> ModuleReady:
        name, status = manager.module_name, await manager.status()
        wanted = status.migrations if require is None else _up_to(status.migrations, require)
        missing = [
            one.filename
            for one in wanted
            # The module does not wait for backfills in the background.
            if one.state not in _IN_THE_DATABASE and not (require is None and one.in_background)
        ]
        if require is not None and not wanted:
            known = [one.version for one in status.migrations if not is_repeatable_name(one.filename)]
            raise ServiceError(
                "not_migrated",
                f"Module {name} has no migration {require!r}.",
                module=name,
                schema=manager.schema,
                missing=[require],
                hint=did_you_mean(require, known),
            )
        if missing:
            raise ServiceError(
                "not_migrated",
                f"{len(missing)} migrations of module {name} are not applied in schema {manager.schema}.",
                module=name,
                schema=manager.schema,
                missing=missing,
            )
        return ModuleReady(module=name, schema=status.schema, version=status.version)


def _up_to(migrations: Sequence[MigrationStatus], require: str) -> Sequence[MigrationStatus]:
    """The migrations up to ``require``, a version or a file name; empty if there is no such migration."""
    for end in range(len(migrations), 0, -1):
        one = migrations[end - 1]
        if require in (one.filename, one.version) or _same_number(one.filename, require):
            return migrations[:end]
    return ()


def _same_number(filename: str, version: str) -> bool:
    """Whether ``filename`` has ``version``, with or without leading zeros."""
    return order_of(f"{version}_").same_version(order_of(filename))


def _plan(plan: MigrationPlan) -> Plan:
    found = Plan(
        module=plan.module,
        schema=plan.schema,
        digest=plan.digest,
        pending=[_planned(one, plan.tables) for one in plan.pending],
        skipped=len(plan.skipped),
    )
    if plan.renamed:
        found.renamed = [RenamedMigration(one.filename, one.applied_as) for one in plan.renamed]
    if plan.refusal is not None:
        found.refusal = msgspec.convert({"detail": plan.refusal.message, **plan.refusal.fields()}, Refusal)
    return found


def _planned(one: LibraryPlanned, tables: Mapping[str, TableUse]) -> PlannedMigration:
    return PlannedMigration(
        filename=one.filename,
        version=one.version,
        checksum=one.checksum,
        transactional=one.transactional,
        impact=one.impact,
        statements=[
            PlannedStatement(
                number=statement.number,
                kind=statement.kind,
                line=statement.line,
                column=statement.column,
                sql=sql,
                locks=[_lock(lock, tables) for lock in statement.locks],
                blocks=statement.blocks,
            )
            for statement, sql in zip(one.statements, one.sql, strict=True)
        ],
        findings=[msgspec.convert(finding, Finding, from_attributes=True) for finding in one.findings],
        fix=None if one.fix is None else msgspec.convert(one.fix, Fix, from_attributes=True),
    )


def _lock(lock: StatementLock, tables: Mapping[str, TableUse]) -> PlannedLock:
    table = tables.get(lock.relation or "")
    use: dict[str, Any] = {} if table is None else table._asdict()
    use["relation"] = lock.relation
    return PlannedLock(mode=lock.mode.sql, **use)


def _invalid_index(index: InvalidIndex) -> str:
    return (
        f"The index {index.name} on {index.schema}.{index.relation} is INVALID: drop it, or rebuild it with "
        f"REINDEX INDEX CONCURRENTLY."
    )
