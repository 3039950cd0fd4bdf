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
    from uvicorn import Config

# The limit of nginx, h11 and most clients and proxies.
MAX_HEADER_BYTES = 64 * 1024
# How long the rest of a refused request is read and dropped: closing earlier would reset the connection, and the
# client would not see the answer.
_LINGER_S = 2.0

logger = structlog.get_logger("pgdbm_service")


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
        # Bytes of the current request line and headers, and bytes that the parser has not reported in a callback yet.
        self._header_bytes = 0
        self._unreported_bytes = 0
        self._is_refused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._unreported_bytes += len(data)
        super().data_received(data)
        if max(self._header_bytes, self._unreported_bytes) > MAX_HEADER_BYTES:
            detail = f"The request line and headers exceed {MAX_HEADER_BYTES // 1024} KB."
            self._refuse(ServiceError("headers_too_large", detail))

    def on_message_begin(self) -> None:
        self._header_bytes = self._unreported_bytes = 0
        if self._receiving_since is None:
            self._receiving_since = self.loop.time()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._header_bytes += len(url)
        self._unreported_bytes = 0
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Including the colon, the space and the line break.
        self._header_bytes += len(name) + len(value) + 4
        self._unreported_bytes = 0
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unreported_bytes = 0
        if self._header_bytes <= MAX_HEADER_BYTES:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unreported_bytes = 0
        if self._header_bytes <= MAX_HEADER_BYTES:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._receiving_since = None
        if self._header_bytes <= MAX_HEADER_BYTES:
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
