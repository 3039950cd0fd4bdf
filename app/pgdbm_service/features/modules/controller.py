"""The calls that read modules."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get
from litestar.params import Parameter

from pgdbm.migrations.results import ModuleState as SchemaState

from ...api.modules import (
    HistoryPage,
    MigrationFile,
    MigrationList,
    ModuleDetail,
    ModuleList,
    ModuleState,
    SchemaPage,
)
from ...web.conditional import etag_of
from ...web.pagination import Cursor, Limit, cursor_of, read_cursor, read_number
from ...web.problems import error_responses
from ...web.query_parameters import InSchema, read_several, several_of
from .views import ModuleViews

_READ = ("database_unavailable", "lock_timeout")
_READ_ONE = (
    "module_unknown",
    "module_invalid",
    "files_changing",
    "repository_unreadable",
    "migration_file_invalid",
    *_READ,
)


class ModuleController(Controller):
    path = "/modules"
    tags = ("modules",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=error_responses("invalid_request", *_READ))
    async def list_modules(
        self,
        views: ModuleViews,
        in_state: Annotated[
            list[str] | None, several_of(ModuleState, "Only modules in one of these states.", query="state")
        ] = None,
        q: Annotated[str, Parameter(description="Only modules whose name contains this text.")] = "",
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> ModuleList:
        """The modules with their states: the registered ones, then those that exist only in a history table."""
        after = None if cursor is None else read_cursor(cursor, tuple[bool, str])
        page, following = await views.page(limit, after, read_several(in_state, "state", ModuleState), q)
        page.next = None if following is None else cursor_of(following)
        return page

    @get("/{module:str}", responses=error_responses("module_unknown", "repository_unreadable", *_READ))
    async def get_module(self, views: ModuleViews, module: str) -> Response[ModuleDetail]:
        """One module with its state; if it has several schemas, the number of schemas in each state."""
        detail = await views.detail(module)
        return Response(detail, headers={} if detail.digest is None else {"ETag": etag_of(detail.digest)})

    @get("/{module:str}/schemas", responses=error_responses("invalid_request", *_READ_ONE))
    async def list_module_schemas(
        self,
        views: ModuleViews,
        module: str,
        in_state: Annotated[
            SchemaState | None,
            Parameter(query="state", description="Only schemas in which the module is in this state."),
        ] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> SchemaPage:
        """The module's schemas by name, with its state in each."""
        after = "" if cursor is None else read_cursor(cursor, str)
        page, following = await views.schemas(module, in_state, limit, after)
        page.next = None if following is None else cursor_of(following)
        return page

    @get("/{module:str}/migrations", responses=error_responses("invalid_request", *_READ_ONE))
    async def list_migrations(
        self,
        views: ModuleViews,
        module: str,
        schema: InSchema = None,
        limit: Annotated[
            int, Parameter(ge=1, le=10_000, description="The maximum number of items on the page.")
        ] = 1000,
        cursor: Cursor = None,
    ) -> MigrationList:
        """Every migration of the module with its state, in the order in which they are applied."""
        page, following = await views.migrations(module, schema, limit, read_number(cursor) or 0)
        page.next = None if following is None else cursor_of(following)
        return page

    @get(
        "/{module:str}/migrations/{filename:str}",
        responses=error_responses("invalid_request", "migration_unknown", *_READ_ONE),
    )
    async def get_migration(
        self, views: ModuleViews, module: str, filename: str, schema: InSchema = None
    ) -> MigrationFile:
        """The SQL of one file, as written and as rendered."""
        return await views.migration_file(module, filename, schema)

    @get("/{module:str}/history", responses=error_responses(*_READ_ONE))
    async def get_history(
        self,
        views: ModuleViews,
        module: str,
        schema: InSchema = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> HistoryPage:
        """What was applied, newest first."""
        page, following = await views.history(module, schema, limit, read_number(cursor))
        page.next = None if following is None else cursor_of(following)
        return page
