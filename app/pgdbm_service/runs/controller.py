"""POST /modules/{module}/migrate, POST /migrate, and the calls under /runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.openapi import ResponseSpec
from litestar.params import Body, Parameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from ..auth import caller_of, require
from ..cursors import cursor_of, read_number
from ..database import Database
from ..errors import Problem, documented
from ..optional_bodies import OptionalBodyOperation
from ..registry import Registry
from ..settings import Settings
from ..trace_context import traceparent_of
from .accepting import Request as Asking
from .background import Runs
from .feeds import as_data
from .structs import (
    MigrateAllBody,
    MigrateAllResult,
    MigrateBody,
    MigrateResult,
    Run,
    RunList,
    RunSchemaList,
    RunStatus,
    SchemaStatus,
    StreamedEvent,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DEFAULT_WAIT_S = 60.0
_LONGEST_WAIT_S = 3600.0
_RECONNECT_MS = 1000

_READ = ("database_unavailable", "lock_timeout")
_READ_ONE = ("run_unknown", *_READ)
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
    "run_cancelled",
    "bundle_unknown",
    "database_error",
    "database_unavailable",
    "dependency_not_migrated",
    "lock_timeout",
    "shutting_down",
)
_MIGRATE_ONE = ("module_unknown", "plan_moved", "bundle_moved", "idempotency_key_reused", *_MIGRATE)
_LEFT_OUT = Body(description="May be left out.")
_GOES_ON = {202: ResponseSpec(Run, description="It goes on: `Location` says where.", generate_examples=False)}

AnyRequest = Request[Any, Any, Any]
Prefer = Annotated[
    str | None,
    Parameter(header="Prefer", description="`respond-async`, or `wait=SECONDS`: how long to wait for the end."),
]
Key = Annotated[
    str | None,
    Parameter(
        header="Idempotency-Key", min_length=1, max_length=255, description="The same key leads to the same run."
    ),
]
Limit = Annotated[int, Parameter(ge=1, le=200, description="How many items a page has.")]
Next = Annotated[str | None, Parameter(query="next", description="The `next` of the page before.")]


@post(
    "/modules/{module:str}/migrate",
    status_code=200,
    tags=["modules"],
    opt={"needs": "migrate"},
    operation_class=OptionalBodyOperation,
    responses=documented(*_MIGRATE_ONE) | _GOES_ON,
)
async def migrate(
    request: AnyRequest,
    runs: Runs,
    module: str,
    prefer: Prefer = None,
    idempotency_key: Key = None,
    data: Annotated[MigrateBody | None, _LEFT_OUT] = None,
) -> Response[MigrateResult]:
    """Apply what is pending: 200 when it is done, 202 with the run when the wait is over. It goes on without a client.

    A call while a run for the same is under way joins that.
    """
    body = data or MigrateBody()
    asking = _asking(request, prefer, idempotency_key, body.wait_s)
    return await _answered(request, runs, await runs.acceptor.migrate(module, body, asking))


@post(
    "/migrate",
    status_code=200,
    tags=["modules"],
    opt={"needs": "migrate_some"},
    operation_class=OptionalBodyOperation,
    responses=documented("idempotency_key_reused", *_MIGRATE) | _GOES_ON,
)
async def migrate_all(
    request: AnyRequest,
    registry: Registry,
    runs: Runs,
    prefer: Prefer = None,
    idempotency_key: Key = None,
    data: Annotated[MigrateAllBody | None, _LEFT_OUT] = None,
) -> Response[MigrateAllResult]:
    """Apply what is pending in every module, each after those that it depends on, up to the first failure.

    200 when it is done, 202 with the run when the wait is over. Refused as a whole to who may not migrate one of them.
    """
    for module in registry:
        require(caller_of(request), "migrate", module.name)
    body = data or MigrateAllBody()
    asking = _asking(request, prefer, idempotency_key, body.wait_s)
    return await _answered(request, runs, await runs.all_modules.migrate(dry_run=body.dry_run, request=asking))


class RunController(Controller):
    path = "/runs"
    tags = ("runs",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=documented(*_READ))
    async def list_runs(
        self,
        database: Database,
        runs: Runs,
        module: Annotated[str | None, Parameter(description="Only runs of this module.")] = None,
        status: Annotated[RunStatus | None, Parameter(description="Only runs with this status.")] = None,
        limit: Limit = 20,
        cursor: Next = None,
    ) -> RunList:
        """Runs, newest first."""
        before = read_number(cursor)
        items, following = await database.within_limit(runs.reader.page(module, status, limit, before))
        return RunList(items, None if following is None else cursor_of(following))

    @get("/{run_id:uuid}", responses=documented(*_READ_ONE))
    async def get_run(self, database: Database, runs: Runs, run_id: UUID) -> Run:
        """One run: where it is, statement by statement, what it waits for, how it ended."""
        return await database.within_limit(runs.reader.run(run_id))

    @get("/{run_id:uuid}/schemas", responses=documented(*_READ_ONE))
    async def list_run_schemas(
        self,
        database: Database,
        runs: Runs,
        run_id: UUID,
        status: Annotated[SchemaStatus | None, Parameter(description="Only schemas with this status.")] = None,
        limit: Limit = 50,
        cursor: Next = None,
    ) -> RunSchemaList:
        """The schemas of a run, in their order, each with what came of it."""
        after = read_number(cursor)
        items, following = await database.within_limit(runs.reader.schemas(run_id, status, limit, after))
        return RunSchemaList(items, None if following is None else cursor_of(following))

    @get(
        "/{run_id:uuid}/events",
        responses=documented(*_READ_ONE)
        | {
            200: ResponseSpec(
                StreamedEvent,
                description="Server-Sent Events.",
                media_type="text/event-stream",
                generate_examples=False,
            ),
            204: ResponseSpec(None, description="There is nothing more to come.", generate_examples=False),
        },
    )
    async def stream_events(
        self,
        database: Database,
        settings: Settings,
        runs: Runs,
        run_id: UUID,
        last_event_id: Annotated[
            str | None, Parameter(header="Last-Event-ID", description="Go on after this event.")
        ] = None,
    ) -> Response[Any]:
        """What happens in a run, from its beginning or from `Last-Event-ID` on, until it ends: Server-Sent Events."""
        after = int(last_event_id) if last_event_id and last_event_id.isascii() and last_event_id.isdigit() else 0
        newest, has_ended = await database.within_limit(runs.reader.newest_event(run_id))
        if has_ended and after >= newest:
            return Response(None, status_code=204)
        return ServerSentEvent(_messages(runs, run_id, min(after, newest), settings.stream_keep_alive_s))

    @post(
        "/{run_id:uuid}/cancel",
        status_code=200,
        opt={"needs": "migrate_some"},
        responses=documented("cross_origin", "run_ended", *_READ_ONE),
    )
    async def cancel_run(self, request: AnyRequest, database: Database, runs: Runs, run_id: UUID) -> Run:
        """Stop a run. What it had applied stays; the statement at work is cancelled and rolled back."""
        run = await _own_run(request, database, runs, run_id)
        return await database.within_limit(_cancelled(runs, run))

    @post(
        "/{run_id:uuid}/retry",
        status_code=200,
        opt={"needs": "migrate_some"},
        responses=documented("run_unknown", "run_not_retryable", "module_unknown", *_MIGRATE) | _GOES_ON,
    )
    async def retry_run(
        self,
        request: AnyRequest,
        database: Database,
        runs: Runs,
        run_id: UUID,
        prefer: Prefer = None,
        idempotency_key: Key = None,
    ) -> Response[MigrateResult | MigrateAllResult]:
        """Migrate the schemas in which a run did not succeed, and no others, with the files as they are now.

        Of a run of all modules, the modules.
        """
        run = await _own_run(request, database, runs, run_id)
        asking = _asking(request, prefer, idempotency_key, None)
        retry = runs.all_modules.retry if run.modules else runs.acceptor.retry
        return await _answered(request, runs, await retry(run, asking))


async def _own_run(request: AnyRequest, database: Database, runs: Runs, run_id: UUID) -> Run:
    """The run, for a caller who may migrate its module, or each of its modules; others are refused."""
    run = await database.within_limit(runs.reader.run(run_id))
    for name in [part.module for part in run.modules] if run.modules else [run.module]:
        require(caller_of(request), "migrate", name)
    return run


async def _cancelled(runs: Runs, run: Run) -> Run:
    was_under_way = await (runs.all_modules.cancel(run.id) if run.modules else runs.store.cancel(run.id))
    run = await runs.reader.run(run.id)
    if not was_under_way:
        raise Problem(
            "run_ended", f"Run {run.id} has ended already: {run.status}.", run_id=str(run.id), run_status=run.status
        )
    return run


async def _messages(runs: Runs, run: UUID, after: int, idle_s: float) -> AsyncIterator[ServerSentEventMessage]:
    ended = False
    async for event in runs.feeds.events(run, after, idle_s):
        if event is None:
            yield ServerSentEventMessage(data=None, comment="keep-alive")
            continue
        ended = event.kind == "run_ended"
        data = msgspec.json.encode(as_data(event)).decode()
        yield ServerSentEventMessage(data=data, event=event.kind, id=event.number)
    if not ended:
        yield ServerSentEventMessage(data='{"reason":"shutting_down"}', event="closing", retry=_RECONNECT_MS)


async def _answered(request: AnyRequest, runs: Runs, result: MigrateResult | MigrateAllResult | UUID) -> Response[Any]:
    # For the audit, which tells what a call led to.
    run_id = result if isinstance(result, UUID) else result.run_id
    if run_id is not None:
        request.scope["state"]["run_id"] = str(run_id)
    if isinstance(result, UUID):
        return Response(
            await runs.reader.run(result),
            status_code=202,
            headers={"Location": f"/runs/{result}", "Preference-Applied": "respond-async"},
        )
    return Response(result, status_code=200)


def _asking(request: AnyRequest, prefer: str | None, key: str | None, wait_s: float | None) -> Asking:
    return Asking(
        caller=caller_of(request).name,
        request_id=request.scope["state"].get("request_id"),
        traceparent=traceparent_of(request.scope),
        key=key,
        wait_s=_wait_of(prefer, _DEFAULT_WAIT_S if wait_s is None else wait_s),
    )


def _wait_of(prefer: str | None, otherwise: float) -> float:
    """Seconds to wait, as RFC 7240 has it; what it does not understand, it passes over."""
    wait = otherwise
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].strip().partition("=")
        if name.lower() == "wait" and value.isascii() and value.strip().isdigit():
            return min(float(value), _LONGEST_WAIT_S)
        if name.lower() == "respond-async":
            wait = 0.0
    return wait
