"""The parts of a module's page that change with runs: its state, and its plan or history."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..database.failures import log_failure, service_error_of
from ..web.pagination import cursor_of
from .grid import IN_ORDER
from .live import Part, Parts
from .module_state import shown_state
from .rendering import render

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..api.modules import ModuleDetail
    from ..features.modules.views import ModuleViews
    from ..features.operations.reads import OperationQueries
    from ..runs.changes import Changed
    from ..runs.recent import RecentRuns
    from .viewer import Viewer

LIVE_TABS = ("plan", "history")
_MOST_FILES = 50
_PAGE = 50


class ModulePage:
    def __init__(
        self, views: ModuleViews, recent: RecentRuns, operation_queries: OperationQueries, viewer: Viewer
    ) -> None:
        self._views = views
        self._recent = recent
        self._operation_queries = operation_queries
        self._viewer = viewer

    async def parts(self, detail: ModuleDetail, tab: str, schema: str | None, before: int | None = None) -> Parts:
        """The parts by id. For a tab that is not in LIVE_TABS, only the parts common to all tabs.

        ``before`` is where the page of the history starts; None means the newest entries.
        """
        run = await self._recent.active_of(detail)
        context = {
            "module": detail,
            "shown": shown_state(detail, run),
            "progress": None if run is None else run.progress,
            "tab": tab,
            "schema": schema,
            "viewer": self._viewer,
            "may_migrate": self._viewer.may_migrate(detail.name),
        }
        found = {"module-head": _part("module_head.html", context)}
        if tab in LIVE_TABS:
            context |= await self._work(detail, tab, schema, before)
            found["module-work"] = _part("module_work.html", context)
        found["module-about"] = _part("module_about.html", context)
        return found

    async def _work(self, detail: ModuleDetail, tab: str, schema: str | None, before: int | None) -> dict[str, Any]:
        try:
            if tab == "plan":
                planned = schema or await schema_to_plan(self._views, detail)
                return {"problem": None} | await self._plan(detail.name, planned)
            page, following = await self._views.history(detail.name, schema, _PAGE, before)
        except Exception as error:
            problem = service_error_of(error)
            log_failure(problem, error)
            return {"problem": problem}
        return {
            "problem": None,
            "history": page.items,
            "following": None if following is None else cursor_of(following),
        }

    async def _plan(self, module: str, schema: str | None) -> dict[str, Any]:
        plan = await self._operation_queries.plan(module, schema, None)
        names = [one.filename for one in plan.pending[:_MOST_FILES]]
        files = await asyncio.gather(*(self._views.migration_file(module, name, schema) for name in names))
        return {"plan": plan, "files": {file.filename: file for file in files}}


async def schema_to_plan(views: ModuleViews, detail: ModuleDetail) -> str | None:
    """With several schemas, the first one in which something is pending; None means its only, or its first, schema."""
    if detail.schema_count <= 1 or not detail.pending:
        return None
    for state in detail.states:
        if state not in IN_ORDER:
            page, _ = await views.schemas(detail.name, state, 1, "")
            pending = next((item.schema for item in page.items if item.pending), None)
            if pending is not None:
                return pending
    return None


async def changes_of(changes: AsyncIterator[Changed | None], module: str) -> AsyncIterator[Changed | None]:
    """The batches of ``changes`` that contain a run of ``module``, and every None."""
    async for batch in changes:
        if batch is None or any(run.module == module for run in batch.runs):
            yield batch


def _part(template: str, context: dict[str, Any]) -> Part:
    html = render(template, **context)
    return Part(html, html)
