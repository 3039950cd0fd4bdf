"""The size of headers, and the time in which a request has to arrive."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from pgdbm_service.web.server_protocol import MAX_HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def connected(service: Any) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname, address.port), timeout=10)


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """The status and the document of the answer, after which the service closes the connection."""
    received = b""
    while b"\r\n\r\n" not in received or b"}" not in received:
        part = connection.recv(65536)
        assert part, received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Large: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\n",
        b"".join(b"X-%d: 0123456789\r\n" % number for number in range(4000)) + b"\r\n",
        # The headers have no end: the refusal does not need one.
        b"X-Endless: " + b"x" * (4 * MAX_HEADER_BYTES),
    ],
    ids=["one", "many", "endless"],
)
def test_large_headers(service: Any, headers: bytes) -> None:
    with connected(service) as connection:
        connection.sendall(REQUEST + headers)
        status, document = answer_of(connection)
    assert (status, document["code"]) == (431, "headers_too_large")
    assert service.get("/health/live").status_code == 200


def test_a_long_address(service: Any) -> None:
    with connected(service) as connection:
        connection.sendall(b"GET /" + b"x" * (2 * MAX_HEADER_BYTES))
        assert answer_of(connection)[0] == 431


def test_headers_within_the_limit(service: Any) -> None:
    headers = {"X-Large": "x" * (MAX_HEADER_BYTES - 1024)}
    # Twice over one connection: the count starts again with each request.
    for _ in range(2):
        assert service.get("/health/live", headers=headers).status_code == 200
    assert service.post("/modules/m/rehearse", content=b"x" * 200_000).status_code in (400, 404)


def test_headers_after_a_body(service: Any) -> None:
    """A second request begins where the large body of the first one ends, and its own headers are large."""
    body = b"x" * 200_000
    first = b"POST /modules/m/rehearse HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    second = REQUEST + b"X-Large: " + b"x" * (MAX_HEADER_BYTES - 1024) + b"\r\nConnection: close\r\n\r\n"
    with connected(service) as connection:
        connection.sendall(first + body + second)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 200 " in received


def test_trailing_headers(service: Any) -> None:
    """They follow a body in chunks, and are as limited as the others."""
    start = b"POST /modules/m/migrate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    with connected(service) as connection:
        connection.sendall(start + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
        connection.sendall(b"".join(b"X-%d: 0123456789\r\n" % number for number in range(20_000)))
        status, document = answer_of(connection)
    assert (status, document["code"]) == (431, "headers_too_large")


def test_a_flood_does_not_block_the_service(service: Any) -> None:
    """50 MB of headers were collected in quadratic time."""
    with connected(service) as connection:
        connection.setblocking(False)
        started, sent, slowest = time.monotonic(), 0, 0.0
        connection.setblocking(True)
        connection.sendall(REQUEST + b"X-Flood: ")
        while sent < 20 * 1024 * 1024 and time.monotonic() < started + 5:
            try:
                sent += connection.send(b"x" * 1024 * 1024)
            except (BrokenPipeError, ConnectionResetError):
                break
            before = time.monotonic()
            assert service.get("/health/live").status_code == 200
            slowest = max(slowest, time.monotonic() - before)
    assert slowest < 1


@pytest.mark.parametrize("sent", [b"", b"GET /health/li", REQUEST, b"POST /migrate HTTP/1.1\r\nHost: x\r\n"])
def test_requests_that_do_not_arrive(start: Callable[..., Any], sent: bytes) -> None:
    service = start(request_timeout_s=0.5)
    with connected(service) as connection:
        connection.sendall(sent)
        status, document = answer_of(connection)
        assert (status, document["code"]) == (408, "request_timeout")


def test_bodies_that_do_not_arrive(start: Callable[..., Any], repo: Any, sql: Callable[..., list[Any]]) -> None:
    """Bytes that trickle in do not extend the time."""
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} ()")
    service = start(request_timeout_s=0.6)
    with connected(service) as connection:
        connection.sendall(
            b"POST /modules/m/migrate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        for _ in range(4):
            time.sleep(0.1)
            connection.sendall(b" ")
        assert answer_of(connection)[0] == 408
    assert sql("SELECT FROM pgdbm_service.runs") == []


def test_an_idle_connection_and_a_long_answer_are_not_limited(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(1.2)")
    service = start(request_timeout_s=0.5)
    assert service.post("/modules/m/migrate").status_code == 200
    time.sleep(0.8)
    assert service.get("/modules").status_code == 200


def test_a_request_that_is_not_http(service: Any) -> None:
    with connected(service) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        status, document = answer_of(connection)
    assert (status, document["code"]) == (400, "invalid_request")
