"""The module calls, and POST /migrate."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from litestar import Controller, Request, get, post
from litestar.params import Body, Parameter

from ..auth import caller_of, require
from ..database import Database
from ..errors import documented, invalid_request
from ..optional_bodies import OptionalBodyOperation
from ..registry import Registry
from .migrate import Migrator
from .structs import (
    HistoryPage,
    MigrateAllBody,
    MigrateAllResult,
    MigrateBody,
    MigrateResult,
    MigrationFile,
    MigrationList,
    ModuleDetail,
    ModuleList,
)
from .views import ModuleViews

_READ = ("database_unavailable", "lock_timeout")
_READ_ONE = ("module_unknown", "module_invalid", "migration_file_invalid", *_READ)
_MIGRATE = (
    "cross_origin",
    "checksum_changed",
    "out_of_order",
    "outcome_unknown",
    "body_too_large",
    "migration_failed",
    "migration_file_invalid",
    "migration_error",
    "module_invalid",
    "database_error",
    "database_unavailable",
    "lock_timeout",
    "busy",
    "shutting_down",
)
# The history's ids are PostgreSQL integers.
_LARGEST_ID = 2**31 - 1


_LEFT_OUT = Body(description="May be left out.")


class ModuleController(Controller):
    path = "/modules"
    tags = ("modules",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=documented(*_READ))
    async def list_modules(self, database: Database, views: ModuleViews) -> ModuleList:
        """Every module with its state: the registered ones, and those that only a history table knows."""
        return ModuleList(await database.within_limit(views.summaries()))

    @get("/{module:str}", responses=documented("module_unknown", *_READ))
    async def get_module(self, database: Database, views: ModuleViews, module: str) -> ModuleDetail:
        """One module with its state."""
        return await database.within_limit(views.detail(module))

    @get("/{module:str}/migrations", responses=documented(*_READ_ONE))
    async def list_migrations(self, database: Database, views: ModuleViews, module: str) -> MigrationList:
        """Every migration of the module with its state, in the order in which they apply."""
        return await database.within_limit(views.migrations(module))

    @get("/{module:str}/migrations/{filename:str}", responses=documented("migration_unknown", *_READ_ONE))
    async def get_migration(self, database: Database, views: ModuleViews, module: str, filename: str) -> MigrationFile:
        """The SQL of one file, as written and as rendered."""
        return await database.within_limit(views.migration_file(module, filename))

    @get("/{module:str}/history", responses=documented(*_READ_ONE))
    async def get_history(
        self,
        database: Database,
        views: ModuleViews,
        module: str,
        limit: Annotated[int, Parameter(ge=1, le=200, description="How many items a page has.")] = 20,
        cursor: Annotated[str | None, Parameter(query="next", description="The `next` of the page before.")] = None,
    ) -> HistoryPage:
        """What was applied, newest first."""
        before = None if cursor is None else _id_in(cursor)
        page, following = await database.within_limit(views.history(module, limit, before))
        page.next = None if following is None else _cursor_of(following)
        return page

    @post(
        "/{module:str}/migrate",
        status_code=200,
        opt={"needs": "migrate"},
        operation_class=OptionalBodyOperation,
        responses=documented("module_unknown", "plan_moved", *_MIGRATE),
    )
    async def migrate(
        self,
        migrator: Migrator,
        module: str,
        data: Annotated[MigrateBody | None, _LEFT_OUT] = None,
    ) -> MigrateResult:
        """Apply what is pending. Answers when it is done; goes on to its end if the client goes away."""
        return await migrator.migrate(module, data or MigrateBody())


@post(
    "/migrate",
    status_code=200,
    tags=["modules"],
    opt={"needs": "migrate_some"},
    operation_class=OptionalBodyOperation,
    responses=documented(*_MIGRATE),
)
async def migrate_all(
    request: Request[Any, Any, Any],
    registry: Registry,
    migrator: Migrator,
    data: Annotated[MigrateAllBody | None, _LEFT_OUT] = None,
) -> MigrateAllResult:
    """Apply what is pending in every module, each after those that it depends on, up to the first failure.

    Refused as a whole to who may not migrate one of them.
    """
    modules = registry.in_order()
    for module in modules:
        require(caller_of(request), "migrate", module.name)
    return await migrator.migrate_all(modules, dry_run=data is not None and data.dry_run)


def _cursor_of(row_id: int) -> str:
    return base64.urlsafe_b64encode(row_id.to_bytes(4, "big")).decode().rstrip("=")


def _id_in(cursor: str) -> int:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    row_id = int.from_bytes(raw, "big")
    if len(raw) != 4 or not 0 < row_id <= _LARGEST_ID:
        raise invalid_request([{"field": "next", "message": "not a cursor that this call has given"}])
    return row_id
