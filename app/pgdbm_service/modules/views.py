"""Modules as the service shows them: what is registered, with what the database's histories say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pgdbm.core.templating import TemplateError, render
from pgdbm.errors import AsyncDBError
from pgdbm.migrations.files import order_of
from pgdbm.migrations.results import ModuleState as LibraryState

from ..errors import Problem, problem_of, spelt_alike
from ..registry import Module, require_valid
from ..structs import ModuleProblem
from .structs import (
    HistoryItem,
    HistoryPage,
    Migration,
    MigrationFile,
    MigrationList,
    ModuleDetail,
    ModuleList,
    ModuleSummary,
    SchemaItem,
    SchemaPage,
)

if TYPE_CHECKING:
    from pgdbm.migrations import Migration as LibraryMigration

    from ..history_shapes import Standing
    from ..managers import Managers
    from ..registry import Registry
    from ..run_records import RunRecords
    from ..summaries import HistoryOnly, ModuleShapes, Summaries

# Which state of a schema is that of the whole module: what wants attention first.
_ATTENTION: tuple[LibraryState, ...] = get_args(LibraryState)

Key = tuple[bool, str]
"""What modules are listed by: whether only a history knows it, and the name."""


class ModuleViews:
    """Reads only. Every method may raise what the database raises."""

    def __init__(self, registry: Registry, managers: Managers, summaries: Summaries, records: RunRecords) -> None:
        self._registry = registry
        self._managers = managers
        self._summaries = summaries
        self._records = records

    async def page(self, limit: int, after: Key | None) -> tuple[ModuleList, Key | None]:
        """Modules behind ``after``, and where the next page begins: the registered ones, then those that stand in a
        history table only.
        """
        await self._managers.know_registered()
        listed: list[Module | HistoryOnly] = [
            module for module in self._registry if after is None or (False, module.name) > after
        ]
        if len(listed) <= limit:
            names = [module.name for module in self._registry]
            listed += [
                one
                for one in await self._summaries.only_in_histories(names)
                if after is None or (True, one.name) > after
            ]
        shown = listed[:limit]
        details = iter(await self._details([one for one in shown if isinstance(one, Module)]))
        items = [next(details) if isinstance(one, Module) else _unregistered(one) for one in shown]
        last_runs = await self._records.last_runs([item.name for item in items])
        for item in items:
            item.last_run = last_runs.get(item.name, item.last_run)
        following = (not isinstance(shown[-1], Module), shown[-1].name) if len(listed) > limit else None
        return ModuleList([_summary(item) for item in items]), following

    async def detail(self, name: str) -> ModuleDetail:
        """One module.

        Raises:
            Problem: module_unknown.
        """
        found = await self._managers.find(name)
        if not isinstance(found, Module):
            (known,) = await self._summaries.only_in_histories((), name)
            return _unregistered(known)
        (detail,) = await self._details([found])
        if detail.problem is None:
            detail.digest = (await self._managers.bundle(found)).digest
        detail.last_run = (await self._records.last_runs([name])).get(name, detail.last_run)
        return detail

    async def schemas(self, name: str, state: str | None, limit: int, after: str) -> tuple[SchemaPage, str | None]:
        """Where a module stands in its schemas, by name; and the schema that the next page begins behind.

        Raises:
            Problem: module_unknown, module_invalid.
        """
        module = await self._managers.find(name)
        if not isinstance(module, Module):
            raise self._managers.unknown(name)
        require_valid(module)
        files = await self._managers.files(module)
        found = await self._summaries.page(module, files, state=state, after=after, limit=limit + 1)
        items = [
            SchemaItem(
                schema=one.schema,
                state=one.standing.state,
                applied=one.standing.applied,
                pending=one.standing.pending,
                changed=one.standing.changed,
                missing=one.standing.missing,
                version=one.standing.version,
                checked_at=one.checked_at,
                last_run=one.last_run,
            )
            for one in found[:limit]
        ]
        return SchemaPage(items), items[-1].schema if len(found) > limit else None

    async def migrations(self, name: str, schema: str | None) -> MigrationList:
        status = await (await self._managers.to_read(name, schema)).status()
        return MigrationList(
            [
                Migration(
                    filename=one.filename,
                    version=one.version,
                    checksum=one.checksum,
                    state=one.state,
                    transactional=one.transactional,
                    applied_at=one.applied_at,
                    execution_time_ms=one.execution_time_ms,
                )
                for one in status.migrations
            ]
        )

    async def migration_file(self, name: str, filename: str, schema: str | None) -> MigrationFile:
        """One file. Files are looked up by name among the module's own: no path of the caller's is opened."""
        manager = await self._managers.to_read(name, schema)
        files = {file.filename: file for file in await manager.find_migration_files()}
        file = files.get(filename)
        if file is None:
            raise Problem(
                "migration_unknown",
                f"Module {name!r} has no file {filename!r}.",
                module=name,
                filename=filename,
                hint=spelt_alike(filename, files),
            )
        try:
            rendered = render(file.content, manager.schema).text
        except TemplateError as error:
            raise Problem(
                "migration_file_invalid",
                f"{filename}:{error.line}:{error.column}: unknown placeholder {error.placeholder}: {error.reason}",
                module=name,
                filename=filename,
                line=error.line,
                column=error.column,
                hint=error.reason,
            ) from error
        return MigrationFile(
            module=name,
            schema=manager.schema,
            filename=filename,
            version=file.version,
            checksum=file.checksum,
            transactional=not file.wants_no_transaction,
            sql=file.content,
            rendered=rendered,
        )

    async def history(
        self, name: str, schema: str | None, limit: int, before: int | None
    ) -> tuple[HistoryPage, int | None]:
        """A page, and the id that the next one begins before."""
        manager = await self._managers.to_read_history(name, schema)
        rows = await manager.history(limit + 1, before)
        runs = await self._records.runs_of(manager.module_name, manager.schema, rows)
        page = HistoryPage(
            [
                HistoryItem(
                    filename=row.filename,
                    checksum=row.checksum,
                    schema=manager.schema,
                    applied_at=row.applied_at,
                    applied_by=row.applied_by,
                    execution_time_ms=row.execution_time_ms,
                    run_id=runs.get(row.id),
                )
                for row in rows[:limit]
            ]
        )
        return page, rows[limit - 1].id if len(rows) > limit else None

    async def _details(self, modules: list[Module]) -> list[ModuleDetail]:
        valid = [module for module in modules if module.problem is None]
        shapes = dict(zip((module.name for module in valid), await self._summaries.shapes(valid), strict=True))
        return [
            _described(module, module.problem or await self._standings(module, shapes[module.name]))
            for module in modules
        ]

    async def _standings(self, module: Module, shapes: ModuleShapes) -> ModuleDetail | ModuleProblem:
        try:
            files: list[LibraryMigration] = await self._managers.files(module)
            standings = shapes.standings(files, module.out_of_order)
        except (AsyncDBError, OSError, Problem) as error:
            return _as_module_problem(problem_of(error))
        detail = _empty(module)
        detail.last_run = shapes.last_run
        return _summed(detail, standings)


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
        schemas=names if names is not None else module.schema,
    )


def _described(module: Module, state: ModuleDetail | ModuleProblem) -> ModuleDetail:
    if not isinstance(state, ModuleProblem):
        return state
    detail = _empty(module)
    detail.problem = state
    return detail


def _summed(detail: ModuleDetail, standings: list[tuple[Standing, int]]) -> ModuleDetail:
    states: dict[str, int] = {}
    for standing, count in standings:
        states[standing.state] = states.get(standing.state, 0) + count
        detail.schema_count += count
        detail.applied += standing.applied * count
        detail.pending += standing.pending * count
        detail.changed += standing.changed * count
        detail.missing += standing.missing * count
    detail.states = states
    present: list[LibraryState] = [state for state in _ATTENTION if state in states]
    detail.state = present[0] if present else "up_to_date"
    versions = [standing.version for standing, _ in standings]
    detail.version = None if None in versions else min(filter(None, versions), key=_version_order, default=None)
    return detail


def _version_order(version: str) -> tuple[int, tuple[int, ...], str]:
    return order_of(f"{version}_")


def _summary(detail: ModuleDetail) -> ModuleSummary:
    return ModuleSummary(**{name: getattr(detail, name) for name in ModuleSummary.__struct_fields__})


def _unregistered(found: HistoryOnly) -> ModuleDetail:
    return ModuleDetail(
        name=found.name,
        schema=found.schema if found.schemas == 1 else None,
        source="history",
        state="unregistered",
        applied=found.applied,
        version=found.version,
        schema_count=found.schemas,
    )


def _as_module_problem(problem: Problem) -> ModuleProblem:
    known = {"filename", "line", "column", "hint"}
    fields: dict[str, Any] = {name: value for name, value in problem.fields.items() if name in known}
    return ModuleProblem(code=problem.code, detail=problem.detail, **fields)
