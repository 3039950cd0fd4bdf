"""The handlers of forms: each changes something, and redirects to the page that shows it."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from litestar import Controller, Response, post
from litestar.response import Redirect

from ..api.operations import MarkBody, RepairBody, ResolveBody
from ..api.rehearsals import RehearseBody
from ..api.runs import MigrateAllBody, MigrateAllResult, MigrateBody, MigrateResult, Run
from ..auth import require
from ..database.pool import Database
from ..features.activity.termination import terminate
from ..features.modules.views import ModuleViews
from ..features.operations.decisions import OperationService
from ..features.operations.reads import OperationQueries
from ..runs.request import MigrationRequest, Origin
from ..runs.service import RunService
from ..web.request import HTTPRequest, principal_of
from .forms import Form, files_in, id_in, number_in, required_in, text_in, time_in
from .module_page import schema_to_plan
from .module_pages import migrate_question
from .showing import confirm, show, show_error


class ActionController(Controller):
    path = "/ui"
    include_in_schema = False
    opt = {"needs": "migrate_some", "cookie": "page"}  # noqa: RUF012 - Litestar merges it into each handler's
    exception_handlers = {Exception: show_error}  # noqa: RUF012 - Litestar reads it once

    @post("/runs/{run_id:uuid}/cancel")
    async def cancel_run(self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID) -> Redirect:
        run = await _own_run(request, database, runs, run_id)
        cancel = runs.all_modules.cancel if run.modules else runs.store.cancel
        await database.with_timeout(cancel(run.id))
        return _see(f"/ui/runs/{run_id}")

    @post("/runs/{run_id:uuid}/retry")
    async def retry_run(self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID) -> Redirect:
        run = await _own_run(request, database, runs, run_id)
        retry = runs.all_modules.retry if run.modules else runs.submitter.retry
        return _see_run(await retry(run, _origin(request), 0.0), f"/ui/runs/{run_id}")

    @post("/modules/{module:str}/migrate", opt={"needs": "migrate"})
    async def migrate(self, request: HTTPRequest, runs: RunService, module: str, data: Form) -> Redirect:
        """Migrate with the digest of the plan, or of the bundle, that the page showed."""
        schema = text_in(data, "schema")
        body = MigrateBody(
            plan=text_in(data, "plan"),
            bundle=text_in(data, "bundle"),
            schemas=(schema,) if schema else None,
        )
        migration = MigrationRequest.of_module(module, body, _origin(request), 0.0)
        return _see_run(await runs.submitter.migrate(migration), f"/ui/modules/{module}")

    @post("/modules/{module:str}/dry-run", opt={"needs": "migrate"})
    async def dry_run(self, request: HTTPRequest, runs: RunService, module: str, data: Form) -> Response[str]:
        """What a migrate would apply."""
        schema = text_in(data, "schema")
        body = MigrateBody(dry_run=True, schemas=(schema,) if schema else None)
        migration = MigrationRequest.of_module(module, body, _origin(request), 0.0)
        result = await runs.submitter.migrate(migration)
        return show(request, "dry_run.html", "Modules", module=module, schema=schema, result=result)

    @post("/modules/{module:str}/rehearse", opt={"needs": "migrate"})
    async def rehearse(
        self,
        request: HTTPRequest,
        views: ModuleViews,
        operation_queries: OperationQueries,
        operations: OperationService,
        module: str,
        data: Form,
    ) -> Response[str]:
        """Rehearse, then ask whether to migrate exactly what was rehearsed."""
        schema = text_in(data, "schema")
        detail = await views.detail(module)
        # The digest is computed first: a file added during the rehearsal changes it, and the migrate is refused.
        plan = await operation_queries.plan(module, schema or await schema_to_plan(views, detail), None)
        rehearsal = await operations.rehearse(module, RehearseBody(schema=schema or plan.schema))
        return confirm(request, **migrate_question(detail, plan, schema, rehearsal))

    @post("/modules/{module:str}/mark", opt={"needs": "migrate"})
    async def mark(self, operations: OperationService, module: str, data: Form) -> Redirect:
        schema = text_in(data, "schema")
        await operations.mark(module, MarkBody(filename=required_in(data, "filename"), applied=True, schema=schema))
        return _see(_page_of(module, "journal", schema))

    @post("/modules/{module:str}/resolve", opt={"needs": "migrate"})
    async def resolve(self, operations: OperationService, module: str, data: Form) -> Redirect:
        schema = text_in(data, "schema")
        body = ResolveBody(
            filename=required_in(data, "filename"),
            statement=number_in(data, "statement"),
            done=required_in(data, "done") == "true",
            schema=schema,
        )
        await operations.resolve(module, body)
        return _see(_page_of(module, "plan", schema))

    @post("/modules/{module:str}/accept", opt={"needs": "migrate"})
    async def accept(self, operations: OperationService, module: str, data: Form) -> Redirect:
        """Record the current content of changed files as applied, if it is still what the page showed."""
        schema = text_in(data, "schema")
        files = files_in(data)
        await operations.repair(module, RepairBody(schema=schema, accept=True, files=files))
        return _see(_page_of(module, "history", schema))

    @post("/migrate")
    async def migrate_all(self, request: HTTPRequest, runs: RunService) -> Redirect:
        modules = await runs.all_modules.modules()
        for name in modules:
            require(principal_of(request), "migrate", name)
        migration = MigrationRequest.of_all(MigrateAllBody(), _origin(request), 0.0)
        return _see_run(await runs.all_modules.migrate(migration, modules), "/ui")

    @post("/database/sessions/{pid:int}/end", opt={"needs": "admin"})
    async def end_session(self, database: Database, runs: RunService, pid: int, data: Form) -> Redirect:
        run, named = id_in(data, "run"), time_in(data, "backend_start")
        migrating = await database.with_timeout(runs.recent.backends())
        await database.with_timeout(terminate(database.manager(), pid, migrating, named))
        return _see("/ui/database" if run is None else f"/ui/runs/{run}")


async def _own_run(request: HTTPRequest, database: Database, runs: RunService, run_id: UUID) -> Run:
    """The run, for a principal who may migrate its module, or each of its modules."""
    run = await database.with_timeout(runs.queries.run(run_id))
    for name in [child.module for child in run.modules] if run.modules else [run.module]:
        require(principal_of(request), "migrate", name)
    return run


def _page_of(module: str, tab: str, schema: str | None) -> str:
    return f"/ui/modules/{module}?{urlencode({'tab': tab} | ({} if schema is None else {'schema': schema}))}"


def _see(address: str) -> Redirect:
    return Redirect(address, status_code=303)


def _see_run(result: MigrateResult | MigrateAllResult | UUID, otherwise: str) -> Redirect:
    run = result if isinstance(result, UUID) else result.run_id
    return _see(otherwise if run is None else f"/ui/runs/{run}")


def _origin(request: HTTPRequest) -> Origin:
    return Origin(principal=principal_of(request).name, request_id=request.scope["state"].get("request_id"))
