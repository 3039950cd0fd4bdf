"""Answers that are Server-Sent Events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar.openapi.datastructures import ResponseSpec
from litestar.response import ServerSentEventMessage, Stream

from ..api.runs import StreamedEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

MEDIA_TYPE = "text/event-stream"
RESPONSE = ResponseSpec(
    StreamedEvent, description="Server-Sent Events.", media_type=MEDIA_TYPE, generate_examples=False
)
"""How the OpenAPI document describes such an answer."""

KEEP_ALIVE = ServerSentEventMessage(data=None, comment="keep-alive")

_RECONNECT_MS = 1000
CLOSING = ServerSentEventMessage(data='{"reason":"shutting_down"}', event="closing", retry=_RECONNECT_MS)
"""The last event of a stream that this replica ends; the client continues it through another one."""

_HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}


def event_stream(
    batches: AsyncIterator[Sequence[ServerSentEventMessage]], headers: Mapping[str, str] | None = None
) -> Stream:
    """A stream of events. Each batch is one write, because a run of thousands of schemas has ten events for each."""
    return Stream(_encoded(batches), media_type=MEDIA_TYPE, headers=_HEADERS | dict(headers or {}))


async def _encoded(batches: AsyncIterator[Sequence[ServerSentEventMessage]]) -> AsyncIterator[bytes]:
    async for batch in batches:
        if batch:
            yield b"".join(message.encode() for message in batch)
