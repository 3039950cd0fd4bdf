"""GET /overview, GET /replicas, GET /events."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import Parameter
from litestar.response import ServerSentEventMessage

from ..api.overview import ChangedRun, Overview, OverviewRun, ReplicaList
from ..runs.service import RunService
from ..web.event_stream import CLOSING, KEEP_ALIVE, RESPONSE, event_stream
from ..web.openapi import Ticketed
from ..web.problems import error_responses
from .overview import OverviewReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_READ = ("database_unavailable", "lock_timeout")


@get("/overview", tags=["overview"], opt={"needs": "read"}, responses=error_responses(*_READ))
async def get_overview(overview: OverviewReader) -> Overview:
    """Every module with its state and its newest runs, the active runs, and what requires a decision."""
    return await overview.read()


@get("/replicas", tags=["overview"], opt={"needs": "read"}, responses=error_responses(*_READ))
async def list_replicas(overview: OverviewReader) -> ReplicaList:
    """The processes that serve this database now: where they run, since when, and how many schemas each is
    migrating."""
    return await overview.replicas()


@get(
    "/events",
    tags=["overview"],
    opt={"needs": "read", "cookie": "stream"},
    responses=error_responses(*_READ) | {200: RESPONSE},
)
async def stream_all_events(
    runs: RunService,
    last_event_id: Annotated[
        str | None, Parameter(header="Last-Event-ID", description="Continue after this event.")
    ] = None,
    ticket: Ticketed = None,
) -> Response[Any]:
    """Every run that changes, in its new state: Server-Sent Events `run`, from `Last-Event-ID` or from now on.

    Changes in quick succession are sent as one, and after a reconnection a run may be sent twice.
    """
    return event_stream(_messages(runs, _time_of(last_event_id), runs.keep_alive_s))


async def _messages(
    runs: RunService, since: datetime | None, idle_s: float
) -> AsyncIterator[list[ServerSentEventMessage]]:
    async for changed in runs.changes.follow(since, idle_s):
        yield [KEEP_ALIVE] if changed is None else [_message(run, changed.at) for run in changed.runs]
    yield [CLOSING]


def _message(run: OverviewRun, changed_at: datetime) -> ServerSentEventMessage:
    data = msgspec.json.encode(ChangedRun(run=run)).decode()
    return ServerSentEventMessage(data=data, event="run", id=changed_at.isoformat())


def _time_of(last_event_id: str | None) -> datetime | None:
    if last_event_id is None:
        return None
    try:
        then = datetime.fromisoformat(last_event_id)
    except ValueError:
        return None
    return then if then.tzinfo is not None else None
