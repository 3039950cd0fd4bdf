"""The answers of calls that migrate: once the run has ended, before that, or as a stream of its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from litestar import Response
from litestar.response import ServerSentEventMessage

from ...api.runs import MigrateAllResult
from ...errors import ServiceError, without_values
from ...runs.all_modules import last_with_dependencies
from ...runs.streams import as_data
from ...web.event_stream import CLOSING, KEEP_ALIVE, MEDIA_TYPE, event_stream
from ...web.problems import HTTPError, problem_of
from ...web.request import public_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from litestar.response import Stream

    from ...api.runs import MigrateResult
    from ...runs.queries import EventRow
    from ...runs.service import RunService
    from ...web.request import HTTPRequest

_DEFAULT_WAIT_S = 60.0
# Shorter than the minute after which many proxies close an idle connection.
_DEFAULT_WAIT_FOR_DONE_S = 50.0
_LONGEST_WAIT_S = 3600.0


async def response_of(
    request: HTTPRequest,
    runs: RunService,
    result: MigrateResult | MigrateAllResult | UUID,
    *,
    require_done: bool,
    with_dependencies: bool = False,
) -> Response[Any]:
    """The answer with ``result``, or for a run that has not ended. A client that accepts events gets the run's events.

    ``with_dependencies``: the run is a run of several modules, and the result is that of the last one.
    """
    # For the audit.
    run_id = result if isinstance(result, UUID) else result.run_id
    if run_id is not None:
        request.scope["state"]["run_id"] = str(run_id)
    if accepts_events(request):
        return _stream(request, runs, result, with_dependencies=with_dependencies)
    if isinstance(result, UUID):
        location = public_path(request, f"/runs/{result}")
        run = await runs.queries.run(result)
        if require_done:
            raise HTTPError(
                "run_not_ended",
                f"Run {result} of {run.module} has not ended: it is {run.status} and continues. Repeat the call to "
                f"keep waiting for it; GET {location} shows it.",
                headers={"Location": location},
                module=run.module,
                run_id=str(result),
                run_status=run.status,
            )
        return Response(run, status_code=202, headers={"Location": location, "Preference-Applied": "respond-async"})
    return Response(result, status_code=200)


def accepts_events(request: HTTPRequest) -> bool:
    """Whether the client prefers a stream of events to JSON."""
    return request.accept.best_match(["application/json", MEDIA_TYPE]) == MEDIA_TYPE


def wait_of(request: HTTPRequest, prefer: str | None, wait_s: float | None, *, require_done: bool) -> float:
    """Seconds to wait for the end: the `wait` or `respond-async` of RFC 7240, else ``wait_s``, else the default.

    0 for a stream, which begins as soon as the run exists.
    """
    if accepts_events(request):
        return 0.0
    default = _DEFAULT_WAIT_FOR_DONE_S if require_done else _DEFAULT_WAIT_S
    wait = default if wait_s is None else wait_s
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].strip().partition("=")
        if name.lower() == "wait" and value.isascii() and value.strip().isdigit():
            return min(float(value), _LONGEST_WAIT_S)
        if name.lower() == "respond-async":
            wait = 0.0
    return wait


async def messages(
    batches: AsyncIterator[Sequence[EventRow]], *, with_values: bool
) -> AsyncIterator[list[ServerSentEventMessage]]:
    """The events of a run as Server-Sent Events; at the end `closing`, if the run has not ended."""
    ended = False
    async for events in batches:
        yield [_message(event, with_values=with_values) for event in events] or [KEEP_ALIVE]
        ended = bool(events) and events[-1].kind == "run_ended"
    if not ended:
        yield [CLOSING]


def _message(event: EventRow, *, with_values: bool) -> ServerSentEventMessage:
    document = as_data(event)
    if not with_values and "problem" in document:
        document["problem"] = without_values(document["problem"])
    return ServerSentEventMessage(data=msgspec.json.encode(document).decode(), event=event.kind, id=event.number)


def _stream(
    request: HTTPRequest,
    runs: RunService,
    result: MigrateResult | MigrateAllResult | UUID,
    *,
    with_dependencies: bool,
) -> Stream:
    if not isinstance(result, UUID):
        return event_stream(_single(_result_message(result)))
    run = result

    async def until_result() -> AsyncIterator[list[ServerSentEventMessage]]:
        has_ended = False
        # A principal that may migrate may see the values in problems.
        async for batch in messages(runs.streams.events(run, 0, runs.keep_alive_s), with_values=True):
            has_ended = batch[-1].event == "run_ended"
            yield batch
        if has_ended:
            yield [await ended()]

    async def ended() -> ServerSentEventMessage:
        try:
            found = await runs.waiter.result_of_ended(run)
        except ServiceError as error:
            problem = problem_of(error).to_response(request).content
            return ServerSentEventMessage(data=msgspec.json.encode(problem).decode(), event="problem")
        if with_dependencies and isinstance(found, MigrateAllResult):
            found = last_with_dependencies(found)
        return _result_message(found)

    return event_stream(until_result(), headers={"Location": public_path(request, f"/runs/{run}")})


def _result_message(result: MigrateResult | MigrateAllResult) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=msgspec.json.encode(result).decode(), event="result")


async def _single(message: ServerSentEventMessage) -> AsyncIterator[list[ServerSentEventMessage]]:
    yield [message]
