"""Modules as the service shows them: the registered ones combined with the histories in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pgdbm.core.pool import without_reset
from pgdbm.core.templating import TemplateError, render
from pgdbm.errors import AsyncDBError
from pgdbm.migrations.results import ModuleState as LibraryState
from pgdbm.migrations.sources.names import Order, order_of
from pgdbm.migrations.sources.psql_scripts import read_script

from ...api.common import ModuleProblem
from ...api.modules import (
    HistoryItem,
    HistoryPage,
    InvalidIndex,
    Migration,
    MigrationFile,
    MigrationList,
    ModuleDetail,
    ModuleList,
    ModuleSummary,
    SchemaItem,
    SchemaPage,
)
from ...api.runs import RenamedMigration
from ...database.audit import last_refusal
from ...database.failures import log_failure, service_error_of
from ...database.pool import within_timeout
from ...database.service_schema import SERVICE_SCHEMA
from ...errors import ServiceError, did_you_mean
from ...registry.modules import Module
from ...status.invalid_indexes import InvalidIndex as FoundIndex
from ...status.invalid_indexes import invalid_indexes, of_module

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pgdbm.migrations import Migration as LibraryMigration

    from ...database.pool import Database
    from ...registry.store import RegistrationStore
    from ...runs.records import LastRun, RunRecords
    from ...runs.start_conditions import StartConditions
    from ...status.applied_sets import SchemaState
    from ...status.module_lookup import ModuleLookup
    from ...status.summaries import AppliedSetCounts, Summaries, UnregisteredModule

# The state of a module is the first of these that any of its schemas has.
_ATTENTION: tuple[LibraryState, ...] = get_args(LibraryState)

Key = tuple[bool, str]
"""The sort key of modules: whether a module exists only in a history, and its name."""


class ModuleViews:
    """Reads only. Every method may raise what the database raises."""

    def __init__(
        self,
        database: Database,
        registrations: RegistrationStore,
        lookup: ModuleLookup,
        summaries: Summaries,
        records: RunRecords,
        start_conditions: StartConditions,
    ) -> None:
        self._database = database
        self._registrations = registrations
        self._lookup = lookup
        self._summaries = summaries
        self._records = records
        self._start_conditions = start_conditions

    @within_timeout
    async def page(
        self, limit: int, after: Key | None, states: Collection[str] | None = None, text: str = ""
    ) -> tuple[ModuleList, Key | None]:
        """Modules after ``after``, and the key of the last one unless it is the last page: the registered modules, then
        those that exist only in a history table. With ``states``, only those in one of these states; ``text`` is part
        of the name.
        """
        registry = await self._registrations.catch_up_once()
        unregistered = await self._summaries.unregistered([module.name for module in registry])
        listed: list[Module | ModuleDetail] = [*registry, *map(_unregistered, unregistered)]
        listed = [one for one in listed if text.lower() in one.name.lower()]
        if states is not None:
            listed = [one for one in await self._with_details(listed) if one.state in states]
        total = len(listed)
        listed = [one for one in listed if after is None or _key(one) > after]
        items = await self._with_details(listed[:limit])
        await self._add_runs(items)
        following = _key(items[-1]) if len(listed) > limit else None
        return ModuleList([_summary(item) for item in items], total=total), following

    async def details(self) -> list[ModuleDetail]:
        """Every registered module, by name."""
        registry = await self._registrations.catch_up_once()
        details = await self._details(list(registry))
        await self._add_runs(details)
        indexes = await invalid_indexes(self._database.manager())
        for module, detail in zip(registry, details, strict=True):
            detail.invalid_indexes = _as_wire(of_module(indexes, module))
        return details

    @within_timeout
    async def detail(self, name: str) -> ModuleDetail:
        """One module.

        Raises:
            ServiceError: module_unknown.
        """
        found = await self._lookup.get(name, or_history=True)
        if not isinstance(found, Module):
            return _unregistered(found)
        (detail,) = await self._details([found])
        if detail.problem is None:
            detail.digest = (await self._lookup.bundle(found, settled=False)).digest
            detail.start_hold = await self._start_conditions.hold_of(found)
            detail.approvals = self._lookup.policies.approvals_of(found)
        last_run = (await self._add_runs([detail])).get(name)
        detail.invalid_indexes = _as_wire(of_module(await invalid_indexes(self._database.manager()), found))
        detail.last_refusal = await last_refusal(
            self._database.manager(SERVICE_SCHEMA), name, last_run.created_at if last_run is not None else None
        )
        return detail

    @within_timeout
    async def schemas(self, name: str, state: str | None, limit: int, after: str) -> tuple[SchemaPage, str | None]:
        """The state of a module in its schemas, by name; and the schema after which the next page starts.

        Raises:
            ServiceError: module_unknown, module_invalid.
        """
        module = await self._lookup.get(name)
        files = await self._lookup.files(module)
        found = await self._summaries.page(module, files, state=state, after=after, limit=limit + 1)
        items = [
            SchemaItem(
                schema=one.schema,
                state=one.state.state,
                applied=one.state.applied,
                pending=one.state.pending,
                changed=one.state.changed,
                missing=one.state.missing,
                version=one.state.version,
                checked_at=one.checked_at,
                last_run=one.last_run,
            )
            for one in found[:limit]
        ]
        (counts,) = await self._summaries.counts([module])
        states = counts.states(files, module.out_of_order)
        total = sum(count for one, count in states if state in (None, one.state))
        return SchemaPage(items, total=total), items[-1].schema if len(found) > limit else None

    @within_timeout
    async def migrations(
        self, name: str, schema: str | None, limit: int | None = None, after: int = 0
    ) -> tuple[MigrationList, int | None]:
        """A page of migrations, in the order in which they are applied, and the position after which the next page
        starts."""
        status = await (await self._lookup.reader(await self._lookup.get(name, or_history=True), schema)).status()
        end = None if limit is None else after + limit
        page = MigrationList(
            [
                Migration(
                    filename=one.filename,
                    version=one.version,
                    checksum=one.checksum,
                    state=one.state,
                    transactional=one.transactional,
                    applied_at=one.applied_at,
                    execution_time_ms=one.execution_time_ms,
                    waits_for=one.waits_for,
                )
                for one in status.migrations[after:end]
            ],
            total=len(status.migrations),
        )
        return page, end if end is not None and end < len(status.migrations) else None

    @within_timeout
    async def migration_file(self, name: str, filename: str, schema: str | None) -> MigrationFile:
        """One file. ``filename`` is compared with the names of the module's files, but never opened as a path."""
        manager = self._lookup.manager(await self._lookup.get(name, or_history=True), schema)
        files = {file.filename: file for file in await manager.find_migration_files()}
        file = files.get(filename)
        if file is None:
            raise ServiceError(
                "migration_unknown",
                f"Module {name!r} has no file {filename!r}.",
                module=name,
                filename=filename,
                hint=did_you_mean(filename, files),
            )
        try:
            rendered = render(read_script(file.content, manager.schema).sql, manager.schema).text
        except TemplateError as error:
            raise ServiceError(
                "migration_file_invalid",
                f"{filename}:{error.line}:{error.column}: unknown placeholder {error.placeholder}: {error.reason}",
                module=name,
                filename=filename,
                line=error.line,
                column=error.column,
            ) from error
        return MigrationFile(
            module=name,
            schema=manager.schema,
            filename=filename,
            version=file.version,
            checksum=file.checksum,
            transactional=not file.runs_without_transaction,
            sql=file.content,
            rendered=rendered,
        )

    @within_timeout
    async def history(
        self, name: str, schema: str | None, limit: int, before: int | None
    ) -> tuple[HistoryPage, int | None]:
        """A page, and the id before which the next one starts."""
        found = await self._lookup.get(name, or_history=True)
        manager = await self._lookup.reader(found, schema, needs_files=False)
        with without_reset():
            rows = await manager.history(limit + 1, before)
        in_schema = manager.schema
        runs = await self._records.runs_of(manager.module_name, in_schema, rows)
        page = HistoryPage(
            [
                HistoryItem(
                    filename=row.filename,
                    checksum=row.checksum,
                    schema=in_schema,
                    applied_at=row.applied_at,
                    applied_by=row.applied_by,
                    execution_time_ms=row.execution_time_ms,
                    run_id=run,
                )
                for row, run in zip(rows[:limit], runs, strict=False)
            ]
        )
        return page, rows[limit - 1].id if len(rows) > limit else None

    async def _with_details(self, listed: Sequence[Module | ModuleDetail]) -> list[ModuleDetail]:
        details = iter(await self._details([one for one in listed if isinstance(one, Module)]))
        return [next(details) if isinstance(one, Module) else one for one in listed]

    async def _details(self, modules: list[Module]) -> list[ModuleDetail]:
        valid = [module for module in modules if module.problem is None]
        counts = dict(zip((module.name for module in valid), await self._summaries.counts(valid), strict=True))
        return [
            _described(module, module.problem or await self._state(module, counts[module.name])) for module in modules
        ]

    async def _add_runs(self, details: list[ModuleDetail]) -> dict[str, LastRun]:
        last_runs = await self._records.last_runs([detail.name for detail in details])
        for detail in details:
            last = last_runs.get(detail.name)
            if last is not None:
                detail.last_run, detail.last_run_status = last.id, last.status
                detail.active_run, detail.active_run_status = last.active, last.active_status
        return last_runs

    async def _state(self, module: Module, counts: AppliedSetCounts) -> ModuleDetail | ModuleProblem:
        try:
            files: list[LibraryMigration] = await self._lookup.files(module)
            states = counts.states(files, module.out_of_order)
        except (AsyncDBError, OSError, ServiceError) as error:
            problem = service_error_of(error)
            log_failure(problem, error)
            return _as_module_problem(problem)
        detail = _empty(module)
        detail.last_run = counts.last_run
        return _summed(detail, states)


def _empty(module: Module) -> ModuleDetail:
    names = module.schemas
    return ModuleDetail(
        name=module.name,
        schema=names[0] if names is not None and len(names) == 1 else None,
        source=module.source,
        state="invalid",
        description=module.description,
        depends_on=module.depends_on,
        out_of_order=module.out_of_order,
        role=module.role,
        windows=module.settings.windows,
        schemas=names if names is not None else module.schema,
    )


def _described(module: Module, state: ModuleDetail | ModuleProblem) -> ModuleDetail:
    if not isinstance(state, ModuleProblem):
        return state
    detail = _empty(module)
    detail.problem = state
    return detail


def _summed(detail: ModuleDetail, schemas: list[tuple[SchemaState, int]]) -> ModuleDetail:
    states: dict[str, int] = {}
    for one, count in schemas:
        states[one.state] = states.get(one.state, 0) + count
        detail.schema_count += count
        detail.applied += one.applied * count
        detail.pending += one.pending * count
        detail.changed += one.changed * count
        detail.missing += one.missing * count
    detail.states = states
    renamed = dict.fromkeys(names for one, _ in schemas for names in one.renamed)
    if renamed:
        detail.renamed = [RenamedMigration(*names) for names in renamed]
    present: list[LibraryState] = [state for state in _ATTENTION if state in states]
    detail.state = present[0] if present else "up_to_date"
    versions = [one.version for one, _ in schemas]
    detail.version = None if None in versions else min(filter(None, versions), key=_version_order, default=None)
    return detail


def _key(module: Module | ModuleDetail) -> Key:
    return module.source == "history", module.name


def _version_order(version: str) -> Order:
    return order_of(f"{version}_")


def _summary(detail: ModuleDetail) -> ModuleSummary:
    return ModuleSummary(**{name: getattr(detail, name) for name in ModuleSummary.__struct_fields__})


def _unregistered(found: UnregisteredModule) -> ModuleDetail:
    return ModuleDetail(
        name=found.name,
        schema=found.schema if found.schemas == 1 else None,
        source="history",
        state="unregistered",
        applied=found.applied,
        version=found.version,
        schema_count=found.schemas,
    )


def _as_module_problem(problem: ServiceError) -> ModuleProblem:
    known = {"filename", "line", "column", "hint"}
    fields: dict[str, Any] = {name: value for name, value in problem.fields.items() if name in known}
    return ModuleProblem(code=problem.code, detail=problem.detail, **fields)


def _as_wire(indexes: list[FoundIndex]) -> list[InvalidIndex]:
    return [InvalidIndex(**index._asdict()) for index in indexes]
