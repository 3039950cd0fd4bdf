"""Ends the event streams that a session has opened when the session ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

    from .sessions import Sessions

_EVENT_STREAM = b"text/event-stream"
_LAST_EVENT = b"event: session:ended\r\ndata: signed out\r\n\r\n"


async def call_until_session_ends(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, sessions: Sessions, session_id: str
) -> None:
    """Call ``app``. If it streams events, it receives a disconnect when the session ends, and the client receives a
    last event."""
    ended = asyncio.Event()
    streaming = False
    with contextlib.ExitStack() as stack:

        async def send_watched(message: Message) -> None:
            nonlocal streaming
            if message["type"] == "http.response.start":
                types = [value for name, value in message["headers"] if name.lower() == b"content-type"]
                streaming = bool(types) and types[0].startswith(_EVENT_STREAM)
                if streaming:
                    stack.enter_context(sessions.watch(session_id, ended))
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                streaming = False
            await send(message)

        async def receive_until_ended() -> ReceiveMessage:
            receiving = asyncio.ensure_future(receive())
            ending = asyncio.ensure_future(ended.wait())
            try:
                await asyncio.wait((receiving, ending), return_when=asyncio.FIRST_COMPLETED)
                return {"type": "http.disconnect"} if ended.is_set() else receiving.result()
            finally:
                for task in (receiving, ending):
                    task.cancel()
                await asyncio.gather(receiving, ending, return_exceptions=True)

        await app(scope, receive_until_ended, send_watched)
        if streaming and ended.is_set():
            await send({"type": "http.response.body", "body": _LAST_EVENT, "more_body": False})
