"""The calls under /modules/{module} that plan, inspect and repair."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get, post
from litestar.params import Body, Parameter

from ...api.operations import (
    BaselineBody,
    BaselineResult,
    ChangedFileList,
    Drift,
    JournalList,
    MarkBody,
    Marked,
    ModuleReady,
    RepairBody,
    RepairResult,
    ResolveBody,
    Resolved,
    RevertBody,
    RevertResult,
)
from ...api.plans import Plan
from ...api.rehearsals import Rehearsal, RehearseBody
from ...auth import require
from ...database.audit import break_glass_entry, write_entries
from ...database.pool import Database
from ...database.service_schema import SERVICE_SCHEMA
from ...web.openapi import OptionalBodyOperation
from ...web.pagination import Cursor, cursor_of, read_number
from ...web.problems import error_responses
from ...web.query_parameters import InSchema
from ...web.request import HTTPRequest, principal_of
from .decisions import OperationService
from .reads import OperationQueries

_READ = (
    "module_unknown",
    "repository_unreadable",
    "module_invalid",
    "database_unavailable",
    "lock_timeout",
    "database_error",
    "insufficient_privilege",
)
_READ_FILES = ("migration_file_invalid", *_READ)
_CHANGE = (
    "cross_origin",
    "policy_violated",
    "closed",
    "body_too_large",
    "migration_error",
    "busy",
    "shutting_down",
    *_READ_FILES,
)
_PLANNING = ("checksum_changed", "out_of_order", "migration_error")
_NEEDS_MIGRATE = {"needs": "migrate"}
_OPTIONAL = Body(description="Optional.")


class OperationController(Controller):
    path = "/modules/{module:str}"
    tags = ("operations",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get("/plan", responses=error_responses(*_PLANNING, *_READ_FILES))
    async def get_plan(
        self,
        operation_queries: OperationQueries,
        module: str,
        schema: InSchema = None,
        target: Annotated[
            str | None, Parameter(min_length=1, description="The last version, or file name, to apply.")
        ] = None,
    ) -> Plan:
        """What a migrate would do now: every pending statement with its locks and risks."""
        return await operation_queries.plan(module, schema, target)

    @get("/drift", responses=error_responses(*_READ))
    async def get_drift(self, operation_queries: OperationQueries, module: str, schema: InSchema = None) -> Drift:
        """The changes of the module's schema since migrations were last applied to it."""
        return await operation_queries.drift(module, schema)

    @get("/journal", responses=error_responses(*_READ))
    async def get_journal(
        self,
        operation_queries: OperationQueries,
        module: str,
        schema: InSchema = None,
        limit: Annotated[int, Parameter(ge=1, le=1000, description="The maximum number of entries on the page.")] = 50,
        cursor: Cursor = None,
    ) -> JournalList:
        """Attempts, failures and manual operations, newest first."""
        page, following = await operation_queries.journal(module, schema, limit, read_number(cursor))
        page.next = None if following is None else cursor_of(following)
        return page

    @get("/changes", responses=error_responses(*_READ_FILES))
    async def list_changes(self, operations: OperationService, module: str, schema: InSchema = None) -> ChangedFileList:
        """The applied files that were modified since, as diffs."""
        return ChangedFileList((await operations.repair(module, RepairBody(schema=schema))).items)

    @get("/ready", responses=error_responses("not_migrated", *_READ_FILES))
    async def module_ready(
        self,
        operation_queries: OperationQueries,
        module: str,
        schema: Annotated[
            str | None, Parameter(min_length=1, description="One of the module's schemas. Default: all of them.")
        ] = None,
        require: Annotated[
            str | None,
            Parameter(min_length=1, description="The version, or file name, that must be applied. Default: all."),
        ] = None,
    ) -> ModuleReady:
        """Whether the module is migrated; otherwise 503 with the missing files. For init containers."""
        return await operation_queries.ready(module, schema, require)

    @post("/mark", status_code=200, opt=_NEEDS_MIGRATE, responses=error_responses("migration_unknown", *_CHANGE))
    async def mark_migration(self, operations: OperationService, module: str, data: MarkBody) -> Marked:
        """Add a file to the history, or delete it from there. Its SQL does not run."""
        return await operations.mark(module, data)

    @post(
        "/baseline",
        status_code=200,
        opt=_NEEDS_MIGRATE,
        responses=error_responses("baseline_mismatch", *_PLANNING, *_CHANGE),
    )
    async def baseline_module(self, operations: OperationService, module: str, data: BaselineBody) -> BaselineResult:
        """Start the history of an existing schema: migrations up to a version count as applied.

        They are built in a scratch schema first, and the existing schema must equal it.
        """
        return await operations.baseline(module, data)

    @post(
        "/rehearse",
        status_code=200,
        opt=_NEEDS_MIGRATE,
        operation_class=OptionalBodyOperation,
        responses=error_responses(*_PLANNING, *_CHANGE),
    )
    async def rehearse_module(
        self, operations: OperationService, module: str, data: Annotated[RehearseBody | None, _OPTIONAL] = None
    ) -> Rehearsal:
        """Run the pending migrations in a scratch schema that is dropped afterwards: locks taken, times, errors.

        The answer is 200 even if a statement failed: see `succeeded`.
        """
        return await operations.rehearse(module, data or RehearseBody())

    @post(
        "/repair",
        status_code=200,
        opt=_NEEDS_MIGRATE,
        operation_class=OptionalBodyOperation,
        responses=error_responses("checksum_changed", *_CHANGE),
    )
    async def repair_module(
        self, operations: OperationService, module: str, data: Annotated[RepairBody | None, _OPTIONAL] = None
    ) -> RepairResult:
        """The applied files that were modified, as diffs. `accept` records their current content as applied.

        With `files`, only if exactly these files have changed and have these checksums.
        """
        return await operations.repair(module, data or RepairBody())

    @post(
        "/revert",
        status_code=200,
        opt=_NEEDS_MIGRATE,
        operation_class=OptionalBodyOperation,
        responses=error_responses(
            "forbidden", "approval_required", "migration_failed", "insufficient_resources", "outcome_unknown", *_CHANGE
        ),
    )
    async def revert_module(
        self,
        request: HTTPRequest,
        database: Database,
        operations: OperationService,
        module: str,
        data: Annotated[RevertBody | None, _OPTIONAL] = None,
    ) -> RevertResult:
        """Run the `.down.sql` files of the newest applied migrations, newest first, each in a transaction."""
        body = data or RevertBody()
        if body.break_glass is not None:
            require(principal_of(request), "admin")
            state = request.scope["state"]
            entry = break_glass_entry(
                principal_of(request).name,
                state["address"],
                state["request_id"],
                "/modules/{module}/revert",
                body.break_glass,
                module=module,
            )
            await database.with_timeout(write_entries(database.manager(SERVICE_SCHEMA), [entry]))
        return await operations.revert(module, body)

    @post("/resolve", status_code=200, opt=_NEEDS_MIGRATE, responses=error_responses("migration_unknown", *_CHANGE))
    async def resolve_statement(self, operations: OperationService, module: str, data: ResolveBody) -> Resolved:
        """Record whether a non-transactional statement with an unknown outcome took effect. Then migrate again."""
        return await operations.resolve(module, data)
