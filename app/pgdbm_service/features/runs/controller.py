"""POST /modules/{module}/migrate, POST /migrate, and the calls under /runs."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.openapi import ResponseSpec
from litestar.params import Body, Parameter

from ...api.runs import (
    MigrateAllBody,
    MigrateAllResult,
    MigrateBody,
    MigrateResult,
    Run,
    RunList,
    RunSchemaList,
    RunStatus,
    SchemaStatus,
)
from ...api.scopes import allows
from ...auth import require
from ...database.pool import Database
from ...errors import ServiceError, without_values
from ...runs.queries import RunFilter
from ...runs.request import MigrationRequest, Origin
from ...runs.service import RunService
from ...web.event_stream import RESPONSE, event_stream
from ...web.headers import traceparent_of
from ...web.openapi import MigrateOperation, Ticketed
from ...web.pagination import TOTAL_LIMIT, Cursor, Limit, cursor_of, read_number
from ...web.problems import error_responses
from ...web.query_parameters import in_utc, read_several, several_of
from ...web.request import HTTPRequest, principal_of
from .answers import messages, response_of, wait_of

_READ = ("database_unavailable", "lock_timeout")
_READ_ONE = ("run_unknown", *_READ)
_MIGRATE = (
    "cross_origin",
    "policy_violated",
    "checksum_changed",
    "out_of_order",
    "plan_refused",
    "outcome_unknown",
    "body_too_large",
    "migration_failed",
    "migration_file_invalid",
    "migration_error",
    "module_invalid",
    "run_cancelled",
    "run_poisoned",
    "bundle_unknown",
    "database_error",
    "insufficient_privilege",
    "database_unavailable",
    "closed",
    "dependency_not_migrated",
    "files_changing",
    "repository_unreadable",
    "insufficient_resources",
    "lock_timeout",
    "shutting_down",
    "run_not_ended",
)
_MIGRATE_ONE = ("module_unknown", "plan_moved", "bundle_moved", "idempotency_key_reused", *_MIGRATE)
_OPTIONAL = Body(description="Optional.")
_EVENT_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_ACCEPTED = {
    202: ResponseSpec(Run, description="The run has not ended. `Location` is its address.", generate_examples=False)
}

Prefer = Annotated[
    str | None,
    Parameter(header="Prefer", description="`respond-async`, or `wait=SECONDS`: how long to wait for the end."),
]
Key = Annotated[
    str | None,
    Parameter(
        header="Idempotency-Key", min_length=1, max_length=255, description="The same key refers to the same run."
    ),
]
RequireDone = Annotated[
    bool,
    Parameter(
        description="Answer with the error 504 instead of 202 if the run has not ended within the wait, which then "
        "defaults to 50 s. A repeated call joins the run, so clients that retry a 504 wait for its end."
    ),
]


@post(
    "/modules/{module:str}/migrate",
    status_code=200,
    tags=["modules"],
    opt={"needs": "migrate"},
    operation_class=MigrateOperation,
    responses=error_responses(*_MIGRATE_ONE) | _ACCEPTED,
)
async def migrate(
    request: HTTPRequest,
    runs: RunService,
    module: str,
    prefer: Prefer = None,
    idempotency_key: Key = None,
    require_done: RequireDone = False,
    data: Annotated[MigrateBody | None, _OPTIONAL] = None,
) -> Response[MigrateResult]:
    """Apply what is pending: 200 once the run has ended, 202 with the run if it has not ended within the wait.

    The run continues if the client disconnects. If an identical run is active, the call joins it. With
    `Accept: text/event-stream`, the answer is the events of the run and then `result` or `problem`, without a wait.
    """
    body = data or MigrateBody()
    migration = MigrationRequest.of_module(
        module,
        body,
        _origin(request, idempotency_key),
        wait_of(request, prefer, body.wait_s, require_done=require_done),
    )
    if body.with_dependencies:
        modules = await runs.all_modules.modules(module)
        for name in modules:
            require(principal_of(request), "migrate", name)
        result = await runs.all_modules.migrate_with_dependencies(migration, modules)
        return await response_of(request, runs, result, require_done=require_done, with_dependencies=True)
    return await response_of(request, runs, await runs.submitter.migrate(migration), require_done=require_done)


@post(
    "/migrate",
    status_code=200,
    tags=["modules"],
    opt={"needs": "migrate_some"},
    operation_class=MigrateOperation,
    responses=error_responses("idempotency_key_reused", "modules_missing", *_MIGRATE) | _ACCEPTED,
)
async def migrate_all(
    request: HTTPRequest,
    runs: RunService,
    prefer: Prefer = None,
    idempotency_key: Key = None,
    require_done: RequireDone = False,
    data: Annotated[MigrateAllBody | None, _OPTIONAL] = None,
) -> Response[MigrateAllResult]:
    """Apply what is pending in every module, each after those that it depends on, up to the first failure.

    200 when the run has ended, 202 with the run if it has not ended within the wait. Needs the scope for every module.
    """
    body = data or MigrateAllBody()
    modules = await runs.all_modules.modules()
    for name in modules:
        require(principal_of(request), "migrate", name)
    wait_s = wait_of(request, prefer, body.wait_s, require_done=require_done)
    migration = MigrationRequest.of_all(body, _origin(request, idempotency_key), wait_s)
    result = await runs.all_modules.migrate(migration, modules)
    return await response_of(request, runs, result, require_done=require_done)


class RunController(Controller):
    path = "/runs"
    tags = ("runs",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=error_responses(*_READ))
    async def list_runs(
        self,
        database: Database,
        runs: RunService,
        module: Annotated[
            list[str] | None,
            Parameter(description="Only runs of these modules. Separate several with commas, or repeat the parameter."),
        ] = None,
        status: Annotated[list[str] | None, several_of(RunStatus, "Only runs with one of these statuses.")] = None,
        schema: Annotated[str | None, Parameter(description="Only runs in this schema.")] = None,
        created_by: Annotated[str | None, Parameter(description="Only runs that this principal requested.")] = None,
        since: Annotated[datetime | None, Parameter(description="Only runs created at this time or later.")] = None,
        until: Annotated[datetime | None, Parameter(description="Only runs created before this time.")] = None,
        limit: Limit = 20,
        cursor: Cursor = None,
    ) -> RunList:
        """Runs, newest first."""
        wanted = RunFilter(
            modules=read_several(module, "module"),
            statuses=read_several(status, "status", RunStatus),
            schema=schema,
            created_by=created_by,
            since=in_utc(since, "since"),
            until=in_utc(until, "until"),
        )
        items, following = await database.with_timeout(runs.queries.page(wanted, limit, read_number(cursor)))
        counted = await database.with_timeout(runs.queries.count(wanted, TOTAL_LIMIT))
        return RunList(items, None if following is None else cursor_of(following), *counted)

    @get("/{run_id:uuid}", responses=error_responses(*_READ_ONE))
    async def get_run(self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID) -> Run:
        """One run: its progress by file and statement, what it waits for, how it ended."""
        return _for_reader(request, await database.with_timeout(runs.queries.run(run_id)))

    @get("/{run_id:uuid}/schemas", responses=error_responses(*_READ_ONE))
    async def list_run_schemas(
        self,
        request: HTTPRequest,
        database: Database,
        runs: RunService,
        run_id: UUID,
        status: Annotated[SchemaStatus | None, Parameter(description="Only schemas with this status.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> RunSchemaList:
        """The schemas of a run, in order, each with its status and the migrations that were applied."""
        after = read_number(cursor)
        module, page, following = await database.with_timeout(runs.queries.schemas(run_id, status, limit, after))
        if not _may_see_values(request, module):
            for one in page.items:
                one.problem = without_values(one.problem)
        page.next = None if following is None else cursor_of(following)
        return page

    @get(
        "/{run_id:uuid}/events",
        opt={"cookie": "stream"},
        responses=error_responses(*_READ_ONE)
        | {
            200: RESPONSE,
            204: ResponseSpec(
                None, description="The run has ended, and there are no more events.", generate_examples=False
            ),
        },
    )
    async def stream_events(
        self,
        request: HTTPRequest,
        database: Database,
        runs: RunService,
        run_id: UUID,
        last_event_id: Annotated[
            str | None, Parameter(header="Last-Event-ID", description="Send the events after this one.")
        ] = None,
        ticket: Ticketed = None,
    ) -> Response[Any]:
        """The events of a run, from the first or after `Last-Event-ID`, until it ends: Server-Sent Events."""
        after = int(last_event_id) if last_event_id and _EVENT_NUMBER.match(last_event_id) else 0
        newest, has_ended = await database.with_timeout(runs.queries.newest_event(run_id))
        if has_ended and after >= newest:
            return Response(None, status_code=204)
        run = await database.with_timeout(runs.queries.run(run_id))
        events = runs.streams.events(run_id, min(after, newest), runs.keep_alive_s)
        return event_stream(messages(events, with_values=_may_see_values(request, run.module)))

    @post(
        "/{run_id:uuid}/cancel",
        status_code=200,
        opt={"needs": "migrate_some"},
        responses=error_responses("cross_origin", "run_ended", *_READ_ONE),
    )
    async def cancel_run(self, request: HTTPRequest, database: Database, runs: RunService, run_id: UUID) -> Run:
        """Stop a run. What it has applied stays; the current statement is cancelled and rolled back."""
        run = await _own_run(request, database, runs, run_id)
        return await database.with_timeout(_cancelled(runs, run))

    @post(
        "/{run_id:uuid}/retry",
        status_code=200,
        opt={"needs": "migrate_some"},
        operation_class=MigrateOperation,
        responses=error_responses("run_unknown", "run_not_retryable", "module_unknown", *_MIGRATE) | _ACCEPTED,
    )
    async def retry_run(
        self,
        request: HTTPRequest,
        database: Database,
        runs: RunService,
        run_id: UUID,
        prefer: Prefer = None,
        idempotency_key: Key = None,
        require_done: RequireDone = False,
    ) -> Response[MigrateResult | MigrateAllResult]:
        """Migrate the schemas in which a run did not succeed, and no others, with the files as they are now.

        For a run of all modules, migrate the modules that did not succeed.
        """
        run = await _own_run(request, database, runs, run_id)
        retry = runs.all_modules.retry if run.modules else runs.submitter.retry
        wait_s = wait_of(request, prefer, None, require_done=require_done)
        result = await retry(run, _origin(request, idempotency_key), wait_s)
        return await response_of(request, runs, result, require_done=require_done)


async def _own_run(request: HTTPRequest, database: Database, runs: RunService, run_id: UUID) -> Run:
    """The run; refused unless the principal may migrate its module, or each of its modules."""
    run = await database.with_timeout(runs.queries.run(run_id))
    for name in [child.module for child in run.modules] if run.modules else [run.module]:
        require(principal_of(request), "migrate", name)
    return run


async def _cancelled(runs: RunService, run: Run) -> Run:
    was_active = await (runs.all_modules.cancel(run.id) if run.modules else runs.store.cancel(run.id))
    run = await runs.queries.run(run.id)
    if not was_active:
        raise ServiceError(
            "run_ended", f"Run {run.id} has already ended: {run.status}.", run_id=str(run.id), run_status=run.status
        )
    return run


def _may_see_values(request: HTTPRequest, module: str) -> bool:
    """Whether the principal may see values from SQL and from tables: it may if it may migrate, because migrations can
    read them."""
    return allows(principal_of(request).scopes, "migrate", module)


def _for_reader(request: HTTPRequest, run: Run) -> Run:
    """``run`` without the values that the principal may not see."""
    failed = (run.problem or {}).get("module", run.module)
    if _may_see_values(request, failed):
        return run
    run.problem = without_values(run.problem)
    for one in [*run.schemas, *(run.modules or ())]:
        one.problem = without_values(one.problem)
    return run


def _origin(request: HTTPRequest, key: str | None) -> Origin:
    return Origin(
        principal=principal_of(request).name,
        request_id=request.scope["state"].get("request_id"),
        traceparent=traceparent_of(request.scope),
        key=key,
    )
