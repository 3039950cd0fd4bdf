"""uvicorn's HTTP protocol with limits: the size of headers, and the time within which a request must arrive."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import ServiceError, to_document

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Handle

    from uvicorn import Config

# The limit of nginx, h11 and most clients and proxies.
MAX_HEADER_BYTES = 64 * 1024
# How long the rest of a refused request is read and dropped: closing earlier would reset the connection, and the
# client would not see the answer.
_LINGER_S = 2.0
# Joining copies the body.
_JOINED_BYTES = 64 * 1024

logger = structlog.get_logger("pgdbm_service")


class JoinedWrites:
    """The transport of one answer, which sends its head together with the body: one system call and one packet instead
    of two. A head without a body, that of a stream, is sent in the next turn of the event loop.
    """

    __slots__ = ("_head", "_loop", "_timer", "_transport")

    def __init__(self, transport: Any, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._timer: Handle | None = None

    def write(self, data: bytes) -> None:
        if self._timer is None:
            self._head = data
            self._timer = self._loop.call_soon(self._flush)
            return
        if self._head is not None and len(data) < _JOINED_BYTES:
            data = self._head + data
            self._head = None
            self._timer.cancel()
        self._flush()
        self._transport.write(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return bool(self._transport.is_closing())

    def _flush(self) -> None:
        head, self._head = self._head, None
        if head is not None and not self.is_closing():
            self._transport.write(head)


class LimitedProtocol(HttpToolsProtocol):
    """Refuses headers over ``MAX_HEADER_BYTES``, and requests that take longer than ``timeout_s`` to arrive.

    httptools itself collects a header of any size, in quadratic time, and uvicorn waits for a request indefinitely.
    """

    def __init__(self, timeout_s: float, config: Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._timeout_s = timeout_s
        # None while no request is being received. The first request may start as soon as the connection is made, which
        # is now.
        self._receiving_since: float | None = self.loop.time()
        self._timer = self.loop.call_later(timeout_s, self._check_time)
        # Received since the end of the last request, its headers or a part of its body; so these are in headers.
        self._header_bytes = 0
        self._are_headers_too_large = False
        self._is_refused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._header_bytes += len(data)
        super().data_received(data)
        if self._are_headers_too_large or self._header_bytes > MAX_HEADER_BYTES:
            detail = f"The request line and headers exceed {MAX_HEADER_BYTES // 1024} KB."
            self._refuse(ServiceError("headers_too_large", detail))

    def on_message_begin(self) -> None:
        if self._receiving_since is None:
            self._receiving_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        # Including the colon, the space and the line break of each.
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        self._are_headers_too_large = size > MAX_HEADER_BYTES
        self._header_bytes = 0
        if not self._are_headers_too_large:
            super().on_headers_complete()
            # The answer is written in a later turn of the loop.
            joined: Any = JoinedWrites(self.transport, self.loop)
            self.cycle.transport = joined

    def on_body(self, body: bytes) -> None:
        self._header_bytes = 0
        if not self._are_headers_too_large:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._receiving_since = None
        self._header_bytes = 0
        if not self._are_headers_too_large:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(ServiceError("invalid_request", msg))

    def _check_time(self) -> None:
        since = self._receiving_since
        left = self._timeout_s if since is None else since + self._timeout_s - self.loop.time()
        if left > 0:
            self._timer = self.loop.call_later(left, self._check_time)
        else:
            detail = f"The request did not arrive completely within {self._timeout_s:g} s."
            self._refuse(ServiceError("request_timeout", detail))

    def _refuse(self, error: ServiceError) -> None:
        """Answer with ``error``, unless an answer is being sent, and close the connection."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        address = self.client[0] if self.client else "local"
        logger.info("request refused", problem_code=error.code, reason=error.detail, address=address)
        if self.cycle is not None and not self.cycle.response_complete:
            is_answering = self.cycle.response_started
            # The application must not also answer.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if is_answering:
                self.transport.close()
                return
        body = msgspec.json.encode(to_document(error))
        status = HTTPStatus(error.kind.status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_S, self.transport.close)


def protocol(timeout_s: float) -> Any:
    """The value of uvicorn's option ``http``."""
    return partial(LimitedProtocol, timeout_s)
