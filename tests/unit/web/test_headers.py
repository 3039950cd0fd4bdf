"""Headers of a request."""

from __future__ import annotations

from typing import Any

import pytest

from pgdbm_service.web.headers import header_of, traceparent_of, with_common_headers

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def scope_of(*sent: str, own: str | None = None) -> Any:
    state = {} if own is None else {"traceparent": own}
    return {"state": state, "headers": [(b"host", b"h"), *((b"traceparent", one.encode()) for one in sent)]}


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "nonsense",
        f"{TRACEPARENT}-more",
        TRACEPARENT.upper(),
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
    ],
)
def test_a_malformed_traceparent_is_ignored(sent: str) -> None:
    assert traceparent_of(scope_of(sent)) is None


def test_the_traceparent_of_the_caller_continues_its_trace() -> None:
    assert traceparent_of(scope_of(TRACEPARENT)) == TRACEPARENT
    assert traceparent_of(scope_of()) is None
    assert traceparent_of(scope_of(TRACEPARENT, TRACEPARENT)) is None


def test_the_span_of_the_request_itself_comes_first() -> None:
    assert traceparent_of(scope_of(TRACEPARENT, own="own")) == "own"


def test_the_first_header_of_a_name_counts() -> None:
    scope = scope_of("a", "b")
    assert header_of(scope, b"traceparent") == "a"
    assert header_of(scope, b"host") == "h"
    assert header_of(scope, b"origin") is None


async def start_of(path: str, *headers: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    sent: list[Any] = []
    scope: Any = {"path": path, "state": {"request_id": "one"}}

    async def send(message: Any) -> None:
        sent.append(message)

    await with_common_headers(send, scope)({"type": "http.response.start", "status": 200, "headers": [*headers]})
    assert scope["state"]["http_status"] == 200
    return dict(sent[0]["headers"])


async def test_every_answer_gets_the_common_headers() -> None:
    headers = await start_of("/modules")
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-request-id"] == b"one"
    assert b"default-src 'none'" in headers[b"content-security-policy"]


async def test_static_files_may_be_cached_and_a_page_keeps_its_own_policy() -> None:
    assert b"cache-control" not in await start_of("/static/swagger-ui/swagger-ui.css")
    headers = await start_of("/docs", (b"Content-Security-Policy", b"default-src 'self'"))
    assert headers[b"Content-Security-Policy"] == b"default-src 'self'"
    assert b"content-security-policy" not in headers
