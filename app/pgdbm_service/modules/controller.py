"""The calls that look at modules."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Controller, Response, get
from litestar.params import Parameter

from ..conditions import etag_of
from ..cursors import cursor_of, read_cursor, read_number
from ..database import Database
from ..errors import documented
from .structs import (
    HistoryPage,
    MigrationFile,
    MigrationList,
    ModuleDetail,
    ModuleList,
    SchemaPage,
)
from .views import ModuleViews

_READ = ("database_unavailable", "lock_timeout")
_READ_ONE = ("module_unknown", "module_invalid", "migration_file_invalid", *_READ)

Limit = Annotated[int, Parameter(ge=1, le=200, description="How many items a page has.")]
Cursor = Annotated[str | None, Parameter(query="next", description="The `next` of the page before.")]
InSchema = Annotated[
    str | None, Parameter(min_length=1, description="One of the module's schemas; without it, the first.")
]
State = Literal["unknown", "partial", "failed", "changed", "out_of_order", "pending", "missing", "ahead", "up_to_date"]


class ModuleController(Controller):
    path = "/modules"
    tags = ("modules",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=documented("invalid_request", *_READ))
    async def list_modules(
        self, database: Database, views: ModuleViews, limit: Limit = 100, cursor: Cursor = None
    ) -> ModuleList:
        """The modules with their states: the registered ones, then those that only a history table knows."""
        after = None if cursor is None else read_cursor(cursor, tuple[bool, str])
        page, following = await database.within_limit(views.page(limit, after))
        page.next = None if following is None else cursor_of(following)
        return page

    @get("/{module:str}", responses=documented("module_unknown", *_READ))
    async def get_module(self, database: Database, views: ModuleViews, module: str) -> Response[ModuleDetail]:
        """One module with its state; for one with many schemas, how many are in which state."""
        detail = await database.within_limit(views.detail(module))
        return Response(detail, headers={} if detail.digest is None else {"ETag": etag_of(detail.digest)})

    @get("/{module:str}/schemas", responses=documented("invalid_request", *_READ_ONE))
    async def list_module_schemas(
        self,
        database: Database,
        views: ModuleViews,
        module: str,
        in_state: Annotated[
            State | None, Parameter(query="state", description="Only schemas in which the module is in this state.")
        ] = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> SchemaPage:
        """The module's schemas by name, and where it stands in each."""
        after = "" if cursor is None else read_cursor(cursor, str)
        page, following = await database.within_limit(views.schemas(module, in_state, limit, after))
        page.next = None if following is None else cursor_of(following)
        return page

    @get("/{module:str}/migrations", responses=documented("invalid_request", *_READ_ONE))
    async def list_migrations(
        self, database: Database, views: ModuleViews, module: str, schema: InSchema = None
    ) -> MigrationList:
        """Every migration of the module with its state, in the order in which they apply."""
        return await database.within_limit(views.migrations(module, schema))

    @get(
        "/{module:str}/migrations/{filename:str}",
        responses=documented("invalid_request", "migration_unknown", *_READ_ONE),
    )
    async def get_migration(
        self, database: Database, views: ModuleViews, module: str, filename: str, schema: InSchema = None
    ) -> MigrationFile:
        """The SQL of one file, as written and as rendered."""
        return await database.within_limit(views.migration_file(module, filename, schema))

    @get("/{module:str}/history", responses=documented(*_READ_ONE))
    async def get_history(
        self,
        database: Database,
        views: ModuleViews,
        module: str,
        schema: InSchema = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> HistoryPage:
        """What was applied, newest first."""
        page, following = await database.within_limit(views.history(module, schema, limit, read_number(cursor)))
        page.next = None if following is None else cursor_of(following)
        return page
