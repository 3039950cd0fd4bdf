"""Modules as the service shows them: what is registered, with what the database's history says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgdbm.core.templating import TemplateError, render
from pgdbm.errors import AsyncDBError
from pgdbm.migrations.files import version_of

from ..errors import Problem, problem_of, spelt_alike
from ..history_tables import modules_in_history
from ..registry import Module, ModuleProblem
from ..run_records import RunRecords
from .structs import HistoryItem, HistoryPage, Migration, MigrationFile, MigrationList, ModuleDetail, ModuleSummary

if TYPE_CHECKING:
    from pgdbm.migrations import ModuleStatus

    from ..database import Database
    from ..history_tables import HistoryModule
    from ..managers import Managers
    from ..registry import Registry


class ModuleViews:
    """Reads only. Every method may raise what the database raises."""

    def __init__(self, database: Database, registry: Registry, managers: Managers) -> None:
        self._database = database
        self._registry = registry
        self._managers = managers
        self._records = RunRecords(database)

    async def summaries(self) -> list[ModuleSummary]:
        """Every registered module, then those that stand in a history table only."""
        details = [await self._detail(module) for module in self._registry]
        registered = {module.name for module in self._registry}
        details += [
            _unregistered(found)
            for found in await modules_in_history(self._database.manager())
            if found.name not in registered
        ]
        last_runs = await self._records.last_runs()
        for detail in details:
            detail.last_run = last_runs.get(detail.name)
        return [
            ModuleSummary(**{name: getattr(detail, name) for name in ModuleSummary.__struct_fields__})
            for detail in details
        ]

    async def detail(self, name: str) -> ModuleDetail:
        found = await self._managers.find(name)
        detail = await self._detail(found) if isinstance(found, Module) else _unregistered(found)
        detail.last_run = await self._records.last_run(name)
        return detail

    async def migrations(self, name: str) -> MigrationList:
        status = await (await self._managers.to_read(name)).status()
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

    async def migration_file(self, name: str, filename: str) -> MigrationFile:
        """One file. Files are looked up by name among the module's own: no path of the caller's is opened."""
        manager = await self._managers.to_read(name)
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

    async def history(self, name: str, limit: int, before: int | None) -> tuple[HistoryPage, int | None]:
        """A page, and the id that the next one begins before."""
        manager = await self._managers.to_read(name)
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

    async def _detail(self, module: Module) -> ModuleDetail:
        if module.problem is not None:
            return _described(module, module.problem)
        try:
            status = await self._managers.of(module).status()
        except (AsyncDBError, OSError, Problem) as error:
            problem = problem_of(error)
            if problem.code == "database_unavailable":
                raise
            return _described(module, _as_module_problem(problem))
        return _described(module, status)


def _described(module: Module, state: ModuleStatus | ModuleProblem) -> ModuleDetail:
    detail = ModuleDetail(
        name=module.name,
        schema=module.schema,
        source=module.source,
        state="invalid",
        description=module.description,
        depends_on=module.depends_on,
        out_of_order=module.out_of_order,
    )
    if isinstance(state, ModuleProblem):
        detail.problem = state
        return detail
    detail.state = state.state
    detail.version = state.version
    detail.applied = state.applied
    detail.pending = state.pending
    detail.changed = state.counts["changed"]
    detail.missing = state.counts["missing"]
    return detail


def _unregistered(found: HistoryModule) -> ModuleDetail:
    return ModuleDetail(
        name=found.name,
        schema=found.schema,
        source="history",
        state="unregistered",
        applied=found.applied,
        version=version_of(found.last_filename),
    )


def _as_module_problem(problem: Problem) -> ModuleProblem:
    known = {"filename", "line", "column", "hint"}
    fields: dict[str, Any] = {name: value for name, value in problem.fields.items() if name in known}
    return ModuleProblem(code=problem.code, detail=problem.detail, **fields)
