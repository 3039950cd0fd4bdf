"""The verbs that change nothing: plan, drift, journal, ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pgdbm.migrations.files import is_repeatable_name, order_of

from ..errors import Problem, problem_of, spelt_alike
from .structs import (
    Change,
    Drift,
    Finding,
    JournalEntry,
    JournalList,
    Lock,
    ModuleReady,
    Plan,
    PlannedMigration,
    PlannedStatement,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.migrations import AsyncMigrationManager, MigrationStatus
    from pgdbm.migrations.results import MigrationPlan
    from pgdbm.migrations.results import PlannedMigration as LibraryPlanned

    from ..managers import Managers

# Whose effects are in the database: "changed" and "missing" are about the file.
_IN_THE_DATABASE = frozenset({"applied", "baseline", "changed", "missing", "ahead"})


class Looker:
    """Reads only. What it raises is a Problem, or what the database raises."""

    def __init__(self, managers: Managers) -> None:
        self._managers = managers

    async def plan(self, name: str, schema: str | None, target: str | None) -> Plan:
        try:
            # Fails soon where the database is away; to inspect many files may then take longer than a query may.
            module = await self._managers.current(name)
            return _plan(await self._managers.of(module, schema).plan(target=target))
        except Exception as error:
            raise problem_of(error).with_fields(module=name) from error

    async def drift(self, name: str, schema: str | None) -> Drift:
        report = await (await self._managers.to_read(name, schema)).drift()
        return Drift(
            clean=report.clean,
            since=report.since,
            module=report.module,
            reason=report.reason,
            changes=[msgspec.convert(change, Change, from_attributes=True) for change in report.changes],
        )

    async def journal(self, name: str, schema: str | None, limit: int) -> JournalList:
        entries = await (await self._managers.to_read(name, schema)).journal(limit)
        return JournalList([msgspec.convert(entry, JournalEntry, from_attributes=True) for entry in entries])

    async def ready(self, name: str, schema: str | None, require: str | None) -> ModuleReady:
        """Whether everything up to the version, or file, ``require`` is applied; without one, everything.

        Without a ``schema``, in each of the schemas that the module names.

        Raises:
            Problem: not_migrated.
        """
        module = self._managers.registered(name)
        places = (schema,) if schema is not None or module.schemas is None else module.schemas
        found = [await self._ready_in(self._managers.of(module, place), require) for place in places]
        return found[0]

    async def _ready_in(self, manager: AsyncMigrationManager, require: str | None) -> ModuleReady:
        name, status = manager.module_name, await manager.status()
        wanted = status.migrations if require is None else _up_to(status.migrations, require)
        missing = [one.filename for one in wanted if one.state not in _IN_THE_DATABASE]
        if require is not None and not wanted:
            known = [one.version for one in status.migrations if not is_repeatable_name(one.filename)]
            raise Problem(
                "not_migrated",
                f"Module {name} has no migration {require!r} (yet).",
                module=name,
                schema=manager.schema,
                missing=[require],
                hint=spelt_alike(require, known),
            )
        if missing:
            raise Problem(
                "not_migrated",
                f"{len(missing)} migrations of module {name} are missing in schema {manager.schema}.",
                module=name,
                schema=manager.schema,
                missing=missing,
            )
        return ModuleReady(module=name, schema=status.schema, version=status.version)


def _up_to(migrations: Sequence[MigrationStatus], require: str) -> Sequence[MigrationStatus]:
    """The migrations up to ``require``, a version or a file name; none where there is no such one."""
    for end in range(len(migrations), 0, -1):
        one = migrations[end - 1]
        if require in (one.filename, one.version) or _same_number(one.filename, require):
            return migrations[:end]
    return ()


def _same_number(filename: str, version: str) -> bool:
    """Whether ``filename`` has the version, written differently: 1 and 001."""
    order, wanted = order_of(filename), order_of(f"{version}_")
    return wanted[0] == 0 and order[:2] == wanted[:2]


def _plan(plan: MigrationPlan) -> Plan:
    return Plan(
        module=plan.module,
        schema=plan.schema,
        digest=plan.digest,
        pending=[_planned(one) for one in plan.pending],
        skipped=len(plan.skipped),
    )


def _planned(one: LibraryPlanned) -> PlannedMigration:
    return PlannedMigration(
        filename=one.filename,
        version=one.version,
        checksum=one.checksum,
        transactional=one.transactional,
        statements=[
            PlannedStatement(
                number=statement.number,
                kind=statement.kind,
                line=statement.line,
                column=statement.column,
                sql=sql,
                locks=[Lock(lock.mode.sql, lock.relation) for lock in statement.locks],
                blocks=statement.blocks,
            )
            for statement, sql in zip(one.statements, one.sql, strict=True)
        ],
        findings=[msgspec.convert(finding, Finding, from_attributes=True) for finding in one.findings],
    )
