"""GET /modules/{module}/backfills, and POST /modules/{module}/backfills/{filename}."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get, post
from litestar.params import Parameter

from ...api.backfills import Backfill, BackfillBody, BackfillList
from ...database.pool import Database
from ...runs.service import RunService
from ...web.problems import error_responses

_READ = (
    "module_unknown",
    "repository_unreadable",
    "module_invalid",
    "migration_file_invalid",
    "database_unavailable",
    "database_error",
    "lock_timeout",
    "insufficient_privilege",
)


class BackfillController(Controller):
    path = "/modules/{module:str}/backfills"
    tags = ("operations",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=error_responses(*_READ))
    async def list_backfills(
        self,
        database: Database,
        runs: RunService,
        module: str,
        schema: Annotated[
            str | None, Parameter(min_length=1, description="One of the module's schemas. Default: the first.")
        ] = None,
    ) -> BackfillList:
        """The backfills of the module that have started, or were paused or limited before, by file name."""
        return BackfillList(await database.with_timeout(runs.backfills.backfills(module, schema)))

    @post(
        "/{filename:str}",
        status_code=200,
        opt={"needs": "migrate"},
        responses=error_responses(
            "cross_origin", "policy_violated", "body_too_large", "migration_unknown", "migration_error", *_READ
        ),
    )
    async def change_backfill(
        self, database: Database, runs: RunService, module: str, filename: str, data: BackfillBody
    ) -> Backfill:
        """Pause, resume or limit a backfill, even before it starts or while a run executes it."""
        return await database.with_timeout(runs.backfills.change(module, filename, data))
