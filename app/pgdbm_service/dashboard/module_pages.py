"""The pages of one module: plan, history, drift, journal, bundles, its schemas, and the confirmations before
changes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from litestar import Controller, Response, get
from litestar.response import Stream

from ..api.operations import RepairBody
from ..database.failures import log_failure, service_error_of
from ..database.pool import Database
from ..errors import ServiceError
from ..features.modules.views import ModuleViews
from ..features.operations.decisions import OperationService
from ..features.operations.reads import OperationQueries
from ..features.registrations.registrar import Registrar
from ..runs.service import RunService
from ..web.pagination import Cursor, cursor_of, read_cursor, read_number
from ..web.query_parameters import InState
from ..web.request import HTTPRequest, principal_of
from .dependencies import dependency_tree
from .forms import file_field
from .grid import IN_ORDER, Cells, OddSchemas, cells_of_schemas, odd_states
from .live import LivePages, Parts, digest_of
from .lock_words import locked_relations
from .module_page import ModulePage, changes_of, schema_to_plan
from .module_state import shown_state
from .showing import confirm, show, show_error
from .viewer import viewer_of
from .wording import count

if TYPE_CHECKING:
    from uuid import UUID

    from ..api.modules import ModuleDetail, SchemaItem
    from ..api.plans import Plan
    from ..api.rehearsals import Rehearsal
    from ..api.runs import Run

_MOST_CELLS = 20_000
_CELLS_PER_READ = 10_000
_MOST_REASONS = 500
_PAGE = 50
# The number of schemas above the grid, per state, and at the top of the list.
_MOST_ODD = 24
_MOST_FIRST = 100
TABS = {
    "plan": "Plan",
    "history": "History",
    "drift": "Drift",
    "journal": "Journal",
    "bundles": "Bundles",
    "changed": "Changed files",
}


class ModulePageController(Controller):
    path = "/ui/modules/{module:str}"
    include_in_schema = False
    exception_handlers = {Exception: show_error}  # noqa: RUF012 - Litestar reads it once
    opt = {"needs": "read", "cookie": "page"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get()
    async def show_module(
        self,
        request: HTTPRequest,
        database: Database,
        views: ModuleViews,
        operation_queries: OperationQueries,
        operations: OperationService,
        registrar: Registrar,
        runs: RunService,
        module: str,
        tab: str = "",
        schema: str | None = None,
        cursor: Cursor = None,
        before: str = "",
        after: str = "",
    ) -> Response[str]:
        detail = await views.detail(module)
        viewer = viewer_of(request, principal_of(request))
        tab = tab if tab in TABS else "plan" if detail.pending and detail.problem is None else "history"
        module_page = ModulePage(views, runs.recent, operation_queries, viewer)
        parts = await module_page.parts(detail, tab, schema, read_number(cursor) if tab == "history" else None)
        shown: dict[str, Any] = {"problem": None, "following": None}
        try:
            match tab:
                case "drift":
                    shown["drift"] = await operation_queries.drift(module, schema)
                case "journal":
                    shown["journal"] = (await operation_queries.journal(module, schema, 100))[0].items
                case "changed":
                    shown["changes"] = (await operations.repair(module, RepairBody(schema=schema))).items
                case "bundles":
                    shown |= await _shown_bundles(database, registrar, module, cursor, before, after)
        except Exception as error:
            shown["problem"] = service_error_of(error)
            log_failure(shown["problem"], error)
        tabs = [
            (name, label) for name, label in TABS.items() if name != "changed" or detail.changed or tab == "changed"
        ]
        return show(
            request,
            "module.html",
            "Modules",
            module=detail,
            schema=schema,
            tab=tab,
            tabs=tabs,
            may_migrate=viewer.may_migrate(module),
            parts=defaultdict(str, {name: part.html for name, part in parts.items()}),
            # An older page of the history does not change.
            live_tab="" if cursor else tab,
            seen="" if cursor else digest_of(parts),
            tree=dependency_tree(await views.details(), module) if detail.depends_on else [],
            **shown,
        )

    @get("/live")
    async def follow_module(
        self,
        request: HTTPRequest,
        live_pages: LivePages,
        views: ModuleViews,
        operation_queries: OperationQueries,
        runs: RunService,
        module: str,
        tab: str = "",
        schema: str | None = None,
        seen: str = "",
    ) -> Stream:
        viewer = viewer_of(request, principal_of(request))
        module_page = ModulePage(views, runs.recent, operation_queries, viewer)
        changes = changes_of(runs.changes.follow(None, runs.keep_alive_s), module)
        key = ("module", module, tab, schema, viewer.address, *viewer.rights)

        async def render() -> Parts | None:
            try:
                detail = await views.detail(module)
            except ServiceError as error:
                if error.code == "module_unknown":
                    return None
                raise
            return await module_page.parts(detail, tab, schema)

        return live_pages.follow(key, changes, render, seen)

    @get("/migrate", opt={"needs": "migrate"})
    async def confirm_migrate(
        self,
        request: HTTPRequest,
        views: ModuleViews,
        operation_queries: OperationQueries,
        module: str,
        schema: str | None = None,
    ) -> Response[str]:
        detail = await views.detail(module)
        plan = await operation_queries.plan(module, schema or await schema_to_plan(views, detail), None)
        return confirm(request, **migrate_question(detail, plan, schema, None))

    @get("/mark", opt={"needs": "migrate"})
    async def confirm_mark(
        self, request: HTTPRequest, views: ModuleViews, module: str, filename: str, schema: str | None = None
    ) -> Response[str]:
        file = await views.migration_file(module, filename, schema)
        return confirm(
            request,
            title=f"Mark {filename} as applied?",
            texts=[
                f"It is added to the history of schema {file.schema}; its SQL is not run.",
                "Do this only if its changes were made by hand. Otherwise later migrations will fail, or work on "
                "data that does not exist.",
            ],
            action=f"/ui/modules/{module}/mark",
            back=f"/ui/modules/{module}?tab=plan",
            back_word=module,
            verb="Mark as applied",
            tone="danger",
            fields={"filename": filename, "schema": schema or ""},
        )

    @get("/accept", opt={"needs": "migrate"})
    async def confirm_accept(
        self, request: HTTPRequest, operations: OperationService, module: str, schema: str | None = None
    ) -> Response[str]:
        """Ask before the history records the content of changed files. The form sends the checksums that the page
        shows."""
        found = await operations.repair(module, RepairBody(schema=schema))
        back = f"/ui/modules/{module}?{urlencode({'tab': 'changed'} | ({} if schema is None else {'schema': schema}))}"
        files = count(len(found.items), "changed file")
        return confirm(
            request,
            title=f"Accept {files} of {module} as applied?",
            texts=[
                f"The history of schema {found.schema} will record the current checksums of the files. Nothing is "
                "executed: the difference does not reach the database.",
                "Do this only if the database already matches the files. Otherwise restore the files, and put the "
                "change into a new one.",
            ]
            if found.items
            else [f"No applied file of {module} differs from the history of schema {found.schema}."],
            changes=found.items,
            action=f"/ui/modules/{module}/accept",
            back=back,
            back_word=f"the changed files of {module}",
            verb="Accept as applied" if found.items else "",
            tone="danger",
            fields={file_field(one.filename): one.current for one in found.items} | {"schema": found.schema},
        )

    @get("/resolve", opt={"needs": "migrate"})
    async def confirm_resolve(
        self,
        request: HTTPRequest,
        views: ModuleViews,
        module: str,
        filename: str,
        statement: int,
        schema: str | None = None,
    ) -> Response[str]:
        from .statements import statements_of

        file = await views.migration_file(module, filename, schema)
        text = next((one for one in statements_of(file) if one.number == statement), None)
        return confirm(
            request,
            title=f"Was statement {statement} of {filename} executed?",
            texts=[
                f"The connection was lost while it ran in schema {file.schema}, outside a transaction. Check whether "
                "it took effect, and record the answer. The next run continues after it, or executes it again.",
            ],
            rows=[] if text is None else [(f"line {text.line}", text.sql)],
            rows_title="The statement",
            action=f"/ui/modules/{module}/resolve",
            back=f"/ui/modules/{module}?tab=journal",
            back_word=module,
            verb="",
            tone="primary",
            fields={"filename": filename, "statement": str(statement), "schema": schema or ""},
            choices=[("done", "true", "It was executed"), ("done", "false", "It was not executed")],
        )

    @get("/schemas")
    async def show_schemas(
        self,
        request: HTTPRequest,
        database: Database,
        views: ModuleViews,
        runs: RunService,
        module: str,
        in_state: InState = "",
        version: str = "",
        q: str = "",
        cursor: Cursor = None,
    ) -> Response[str]:
        detail = await views.detail(module)
        after = "" if cursor is None else read_cursor(cursor, str)
        items, following = await _matching(views, module, in_state, version, q, after)
        odd = await _odd(views, detail)
        if not (in_state or version or q or after):
            # First the schemas that are not up to date, then all of them by name.
            first = [item for one in odd for item in one.items][:_MOST_FIRST]
            known = {item.schema for item in first}
            items = first + [item for item in items if item.schema not in known]
        last = await _last_run(database, runs, detail)
        undone = 0 if last is None else last.schema_counts.failed + last.schema_counts.not_reached
        viewer = viewer_of(request, principal_of(request))
        return show(
            request,
            "schemas.html",
            "Modules",
            module=detail,
            shown=shown_state(detail, await runs.recent.active_of(detail)),
            odd=odd,
            most_odd=_MOST_ODD,
            live=last is not None and last.ended_at is None,
            items=items,
            following=None if following is None else cursor_of(following),
            filters={"state": in_state, "version": version, "q": q},
            retry=last if last is not None and last.status == "failed" and undone else None,
            undone=undone,
            why={} if last is None else await _reasons(database, runs, last.id),
            may_migrate=viewer.may_migrate(module),
        )

    @get("/cells")
    async def list_cells(self, database: Database, views: ModuleViews, runs: RunService, module: str) -> Cells:
        """The schemas of a module for the grid."""
        items: list[SchemaItem] = []
        after = ""
        while len(items) < _MOST_CELLS:
            found, following = await views.schemas(module, None, _CELLS_PER_READ, after)
            items += found.items
            if following is None:
                break
            after = following
        last = await _last_run(database, runs, await views.detail(module))
        why: dict[str, str] = {}
        canaries: list[str] = []
        if last is not None:
            why = await _reasons(database, runs, last.id)
            if last.options.canary:
                query = runs.queries.schemas(last.id, None, last.options.canary, None)
                canaries = [one.schema for one in (await database.with_timeout(query))[1].items]
        return cells_of_schemas(items, why, canaries, active=last is not None and last.ended_at is None)


def migrate_question(
    detail: ModuleDetail, plan: Plan, schema: str | None, rehearsal: Rehearsal | None
) -> dict[str, Any]:
    """The text of the confirmation page before a migrate. Its form sends the digest of what the page shows."""
    module = detail.name
    locked = locked_relations(plan, rehearsal)
    several = detail.schema_count > 1 and not schema
    where = f"schema {schema or plan.schema}"
    if several:
        behind = sum(number for state, number in detail.states.items() if state not in IN_ORDER)
        where = f"{behind:,} of {count(detail.schema_count, 'schema')}"
    is_empty = not plan.pending and not plan.renamed
    is_refused = bool(plan.refusal) and not several
    texts = [
        f"Nothing is pending in {where}: it was migrated since the page was shown."
        if is_empty
        else f"{count(len(plan.pending), 'migration')} will be applied to {where}."
    ]
    if plan.renamed:
        texts.append(f"{count(len(plan.renamed), 'applied file')} will have the new names in the history.")
    if several and not is_empty:
        texts.append(f"Below is the plan for {plan.schema}; others may have more or fewer pending migrations.")
    if not locked and not is_empty:
        texts.append("No lock makes other sessions wait.")
    fields = {"bundle": detail.digest or ""} if several else {"plan": plan.digest}
    if schema:
        fields["schema"] = schema
    return {
        "title": f"Migrate {module}?",
        "texts": texts,
        "rows": [(f"{one.mode} on {one.relation}", one.words) for one in locked],
        "rows_title": "What is locked" if rehearsal is None else "What is locked, and for how long",
        "files": [one.filename for one in plan.pending],
        "action": f"/ui/modules/{module}/migrate",
        "back": f"/ui/modules/{module}?tab=plan",
        "back_word": module,
        "verb": "" if is_empty or is_refused else "Migrate",
        "tone": "primary",
        "fields": fields,
        "rehearsal": rehearsal,
        "refusal": plan.refusal or None,
        "asks_rehearsal": None if rehearsal is not None or is_empty else f"/ui/modules/{module}/rehearse",
        "digest": None if is_empty or is_refused else fields.get("plan") or fields.get("bundle"),
    }


async def _shown_bundles(
    database: Database, registrar: Registrar, module: str, cursor: str | None, before: str, after: str
) -> dict[str, Any]:
    page, following = await database.with_timeout(registrar.bundles(module, 20, read_number(cursor)))
    compared = None
    if before and after:
        compared = await database.with_timeout(registrar.compare_bundles(module, before, after))
    return {
        "bundles": page.items,
        "compared": compared,
        "following": None if following is None else cursor_of(following),
    }


async def _last_run(database: Database, runs: RunService, detail: ModuleDetail) -> Run | None:
    if detail.last_run is None:
        return None
    from uuid import UUID

    try:
        return await database.with_timeout(runs.queries.run(UUID(detail.last_run)))
    except ServiceError:
        return None


async def _reasons(database: Database, runs: RunService, run: UUID) -> dict[str, str]:
    """Why a run failed, by schema."""
    query = runs.queries.schemas(run, "failed", _MOST_REASONS, None)
    _, failed, _ = await database.with_timeout(query)
    return {one.schema: one.problem["detail"] for one in failed.items if one.problem is not None}


async def _odd(views: ModuleViews, detail: ModuleDetail) -> list[OddSchemas]:
    """The first schemas in each state that needs attention, the worst state first."""
    return [
        OddSchemas(state, detail.states[state], (await views.schemas(detail.name, state, _PAGE, ""))[0].items)
        for state in odd_states(detail.states)
    ]


async def _matching(
    views: ModuleViews, module: str, in_state: str, version: str, q: str, after: str
) -> tuple[list[SchemaItem], str | None]:
    """A page of the schemas that match; reads more while there are too few."""
    found: list[SchemaItem] = []
    following: str | None = after
    per_read = _CELLS_PER_READ if q or version else _PAGE
    while following is not None and len(found) < _PAGE:
        page, following = await views.schemas(module, in_state or None, per_read, following)
        found += [one for one in page.items if q in one.schema and version in ("", one.version or "none")]
        if len(found) > _PAGE:
            following = found[_PAGE - 1].schema
    return found[:_PAGE], following
