"""The pages of modules, runs, the database and the audit. They change nothing; the handlers that do are in
actions.py."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, get_args
from uuid import UUID

from litestar import Controller, Response, get
from litestar.response import Redirect, Stream

from ..api.runs import RunStatus
from ..auth import require
from ..database.audit import read_entries
from ..database.pool import Database
from ..database.service_schema import SERVICE_SCHEMA
from ..database.slots import Slots
from ..errors import ServiceError
from ..features.activity.queries import blocking_tree, long_running, pool_state, still_connected
from ..features.modules.views import ModuleViews
from ..features.operations.reads import OperationQueries
from ..features.schemas.queries import page_of_schemas, schema_detail
from ..registry.modules import Registry
from ..runs.queries import RunFilter
from ..runs.service import RunService
from ..web.headers import header_of
from ..web.pagination import Cursor, cursor_of, read_cursor, read_number
from ..web.query_parameters import InState, read_several
from ..web.request import HTTPRequest, principal_of
from .grid import Cells, cells_of_run
from .live import LivePages, Parts, digest_of
from .overview import OverviewReader
from .overview_page import SORTS, lines_of, matching, overview_parts, states_of
from .rendering import asset_called, asset_response, render
from .run_page import RunPage
from .runs_page import runs_parts
from .showing import confirm, show, show_error
from .viewer import viewer_of
from .wording import count, duration, waits_for, with_chosen, works_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..api.activity import Backend
    from ..features.activity.queries import ConnectedBackend

_PAGE = 50
_SCHEMAS = 100
_MOST_TABLES = 500
_LONG_S = 60.0


@get("/ui/assets/{name:str}", opt={"needs": None}, include_in_schema=False, sync_to_thread=False)
def get_asset(request: HTTPRequest, name: str) -> Response[bytes]:
    asset, is_own = asset_called(name)
    if asset is None:
        raise ServiceError("not_found", f"There is no asset {name!r}.")
    return asset_response(asset, is_own=is_own, gzipped="gzip" in (header_of(request.scope, b"accept-encoding") or ""))


class PageController(Controller):
    path = "/ui"
    include_in_schema = False
    exception_handlers = {Exception: show_error}  # noqa: RUF012 - Litestar reads it once
    opt = {"needs": "read", "cookie": "page"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get()
    async def show_overview(
        self,
        request: HTTPRequest,
        overview: OverviewReader,
        q: str = "",
        in_state: InState = "",
        sort: str = "name",
    ) -> Response[str]:
        found = await overview.read()
        sort = sort if sort in SORTS else "name"
        parts, has_matches, seen = overview_parts(found, sort), True, ""
        if q or in_state:
            matches = matching(q, in_state)
            parts = overview_parts(found, sort, matches)
            has_matches = any(map(matches, lines_of(found, sort)))
        else:
            seen = digest_of(parts)
        return show(
            request,
            "overview.html",
            "Modules",
            overview=found,
            parts={name: part.html for name, part in parts.items()},
            seen=seen,
            sort=sort,
            states=with_chosen(states_of(found), in_state),
            has_matches=has_matches,
            filters={"q": q, "state": in_state},
        )

    @get("/live")
    async def follow_overview(
        self, overview: OverviewReader, live_pages: LivePages, runs: RunService, sort: str = "name", seen: str = ""
    ) -> Stream:
        sort = sort if sort in SORTS else "name"
        changes = runs.changes.follow(None, runs.keep_alive_s)
        return live_pages.follow(("overview", sort), changes, partial(_overview_parts, overview, sort), seen)

    @get("/migrate", opt={"needs": "migrate_some"})
    async def confirm_migrate_all(
        self, request: HTTPRequest, overview: OverviewReader, runs: RunService
    ) -> Response[str]:
        for name in await runs.all_modules.modules():
            require(principal_of(request), "migrate", name)
        found = await overview.read()
        rows = [
            (module.name, count(module.pending, "migration"), count(module.schema_count, "schema"))
            for module in found.modules
            if module.pending
        ]
        return confirm(
            request,
            title="Migrate all modules?",
            texts=[
                f"{count(len(rows), 'module has', 'modules have')} pending migrations. Each module is migrated after "
                "those that it depends on. The first failure ends the run."
                if rows
                else "Nothing is pending in any module."
            ],
            rows=rows,
            rows_title="Pending",
            action="/ui/migrate",
            back="/ui",
            back_word="modules",
            verb="Migrate all" if rows else "",
            tone="primary",
        )

    @get("/modules", sync_to_thread=False)
    def redirect_to_modules(self) -> Redirect:
        return Redirect("/ui", status_code=303)

    @get("/runs")
    async def list_runs(
        self,
        request: HTTPRequest,
        database: Database,
        runs: RunService,
        module: str = "",
        status: str = "",
        cursor: Cursor = None,
    ) -> Response[str]:
        wanted = _filter_of(module, status)
        items, following = await database.with_timeout(runs.queries.page(wanted, _PAGE, read_number(cursor)))
        viewer = viewer_of(request, principal_of(request))
        parts = runs_parts(items, viewer, is_filtered=bool(module or status))
        return show(
            request,
            "runs.html",
            "Runs",
            parts={name: part.html for name, part in parts.items()},
            seen=digest_of(parts),
            is_live=cursor is None,
            following=None if following is None else cursor_of(following),
            filters={"module": module, "status": status},
            statuses=get_args(RunStatus),
        )

    @get("/runs/live")
    async def follow_runs(
        self,
        request: HTTPRequest,
        database: Database,
        live_pages: LivePages,
        runs: RunService,
        module: str = "",
        status: str = "",
        seen: str = "",
    ) -> Stream:
        wanted = _filter_of(module, status)
        viewer = viewer_of(request, principal_of(request))

        async def render() -> Parts:
            items, _ = await database.with_timeout(runs.queries.page(wanted, _PAGE, None))
            return runs_parts(items, viewer, is_filtered=bool(module or status))

        changes = runs.changes.follow(None, runs.keep_alive_s)
        return live_pages.follow(("runs", module, status, viewer.address), changes, render, seen)

    @get("/runs/{run_id:uuid}")
    async def show_run(
        self,
        request: HTTPRequest,
        database: Database,
        runs: RunService,
        views: ModuleViews,
        operation_queries: OperationQueries,
        run_id: UUID,
    ) -> Response[str]:
        viewer = viewer_of(request, principal_of(request))
        context = await RunPage(database, runs, views, operation_queries).context(run_id, viewer)
        return show(request, "run.html", "Runs", **context)

    @get("/runs/{run_id:uuid}/live")
    async def follow_run(
        self,
        request: HTTPRequest,
        database: Database,
        live_pages: LivePages,
        runs: RunService,
        views: ModuleViews,
        operation_queries: OperationQueries,
        run_id: UUID,
    ) -> Stream:
        viewer = viewer_of(request, principal_of(request))
        run_page = RunPage(database, runs, views, operation_queries)
        newest, _ = await database.with_timeout(runs.queries.newest_event(run_id))
        changes = runs.streams.events(run_id, newest, min(runs.keep_alive_s, 2.0))
        # The principal who requested a run may not decide about it.
        key = ("run", run_id, viewer.name, *viewer.rights)
        return live_pages.follow(key, changes, lambda: run_page.parts(run_id, viewer))

    @get("/runs/{run_id:uuid}/cells")
    async def list_run_cells(self, database: Database, runs: RunService, run_id: UUID) -> Cells:
        """The schemas of a run for the grid."""
        run = await database.with_timeout(runs.queries.run(run_id))
        return cells_of_run(await database.with_timeout(runs.queries.schema_statuses(run_id)), run)

    @get("/runs/{run_id:uuid}/cancel", opt={"needs": "migrate_some"})
    async def confirm_cancel(
        self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID
    ) -> Response[Any]:
        run = await database.with_timeout(runs.queries.run(run_id))
        if run.ended_at is not None:
            # It changed after the page with the button was shown. Its outcome is on the page of the run.
            return Redirect(f"/ui/runs/{run_id}", status_code=303)
        at_work = [one for one in run.schemas if one.status == "running" and one.progress is not None]
        rows = [
            (one.schema, waits_for(one.progress) or works_on(one.progress))
            for one in at_work
            if one.progress is not None
        ]
        counts = run.schema_counts
        texts = ["What it has applied stays applied. The current statement is cancelled and rolled back."]
        if counts.total > 1:
            texts.append(
                f"{count(counts.succeeded, 'schema is', 'schemas are')} migrated, {counts.running:,} running, "
                f"{counts.queued:,} not started."
            )
        if run.modules:
            names = [child.module for child in run.modules if child.status in ("queued", "running")]
            texts.append(f"Not done yet: {', '.join(names)}.")
        return confirm(
            request,
            title=f"Cancel the run of {'all modules' if run.modules else run.module}?",
            texts=texts,
            rows=rows,
            rows_title="Running now",
            action=f"/ui/runs/{run_id}/cancel",
            back=f"/ui/runs/{run_id}",
            back_word=f"run {str(run_id)[:8]}",
            verb="Cancel the run",
            tone="danger",
        )

    @get("/database")
    async def show_database(
        self,
        request: HTTPRequest,
        database: Database,
        registry: Registry,
        slots: Slots,
        overview: OverviewReader,
        cursor: Cursor = None,
    ) -> Response[str]:
        after = "" if cursor is None else read_cursor(cursor, str)
        reading = page_of_schemas(database, registry, system=False, limit=_SCHEMAS, after=after)
        schemas, following = await database.with_timeout(reading)
        return show(
            request,
            "database.html",
            "Database",
            schemas=schemas,
            largest=max((schema.size_bytes or 0 for schema in schemas), default=0),
            following=None if following is None else cursor_of(following),
            **await _activity(database, slots, overview),
        )

    @get("/database/schema")
    async def show_schema(
        self, request: HTTPRequest, database: Database, registry: Registry, name: str
    ) -> Response[str]:
        """The tables of a schema, the largest first."""
        schema = await database.with_timeout(schema_detail(database, registry, name))
        tables = sorted(schema.tables, key=lambda table: (-(table.size_bytes or 0), table.name))
        return show(request, "database_schema.html", "Database", schema=schema, tables=tables[:_MOST_TABLES])

    @get("/database/activity")
    async def show_activity(self, database: Database, slots: Slots, overview: OverviewReader) -> Response[str]:
        html = render("database_live.html", **await _activity(database, slots, overview))
        return Response(html, media_type="text/html")

    @get("/database/sessions/{pid:int}/end", opt={"needs": "admin"})
    async def confirm_end(
        self,
        request: HTTPRequest,
        database: Database,
        pid: int,
        run: UUID | None = None,
        backend_start: datetime | None = None,
    ) -> Response[str]:
        start = None if backend_start is None else backend_start.isoformat()
        found, waiting = await database.with_timeout(_session(database, pid, start))
        age = "" if found.transaction_age_s is None else f", in a transaction for {duration(found.transaction_age_s)}"
        return confirm(
            request,
            title=f"End the session of {found.application_name or found.user}?",
            texts=[
                f"Process id {pid}, user {found.user}, {found.state}{age}.",
                f"{count(waiting, 'session is', 'sessions are')} waiting behind it.",
                "Its transaction is rolled back, and its client loses the connection.",
            ],
            rows=[(found.query or "",)],
            rows_title="Its last statement",
            action=f"/ui/database/sessions/{pid}/end",
            back="/ui/database" if run is None else f"/ui/runs/{run}",
            back_word="back",
            verb="End the session",
            tone="danger",
            fields={name: text for name, text in (("run", run), ("backend_start", start)) if text},
        )

    @get("/audit", opt={"needs": "admin"})
    async def show_audit(
        self, request: HTTPRequest, database: Database, principal: str = "", module: str = "", cursor: Cursor = None
    ) -> Response[str]:
        db = database.manager(SERVICE_SCHEMA)
        query = read_entries(db, _PAGE, read_number(cursor), principal or None, module or None)
        entries, following = await database.with_timeout(query)
        return show(
            request,
            "audit.html",
            "Audit",
            entries=entries,
            following=None if following is None else cursor_of(following),
            filters={"principal": principal, "module": module},
        )

    @get("/{address:path}")
    async def refuse_unknown_page(self, address: str) -> Response[str]:
        raise ServiceError("not_found", f"There is no page /ui{address[:100]}.")


def _filter_of(module: str, status: str) -> RunFilter:
    """The filter of the list of runs; an empty text is none.

    Raises:
        ServiceError: invalid_request, for an unknown status.
    """
    statuses = read_several([status] if status else None, "status", RunStatus)
    return RunFilter(modules=(module,) if module else None, statuses=statuses)


async def _session(database: Database, pid: int, backend_start: str | None) -> tuple[Backend | ConnectedBackend, int]:
    """The session that is blocking others now, or that ``backend_start`` identifies, and how many sessions wait behind
    it."""
    trees = await blocking_tree(database.manager())
    blocking = next((one for one in _all(trees) if one.pid == pid), None)
    if blocking is not None:
        return blocking, sum(1 for _ in _all(blocking.blocks))
    if backend_start is not None:
        named = [{"pid": pid, "backend_start": backend_start}]
        for session in await still_connected(database.manager(), named):
            return session, 0
    raise ServiceError("backend_not_blocking", f"Session {pid} no longer blocks any other session.", pid=pid)


def _all(trees: Sequence[Backend]) -> Iterator[Backend]:
    for tree in trees:
        yield tree
        yield from _all(tree.blocks)


async def _overview_parts(overview: OverviewReader, sort: str) -> Parts:
    return overview_parts(await overview.read(), sort)


async def _activity(database: Database, slots: Slots, overview: OverviewReader) -> dict[str, Any]:
    db = database.manager()
    return {
        "blocking": await database.with_timeout(blocking_tree(db)),
        "replicas": await overview.replicas(),
        "long_running": await database.with_timeout(long_running(db, _LONG_S)),
        "pool": pool_state(database, slots),
    }
