"""Which requests the client retries, and after how long a pause."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any

import httpx2
import pytest

from pgdbm_service.client import MigrateResult
from pgdbm_service.client.call import Call
from pgdbm_service.client.retries import Retries


def answered(status: int, code: str | None = None, *, retry_after: bool = False) -> httpx2.Response:
    headers = {"Retry-After": "0"} if retry_after else {}
    request = httpx2.Request("GET", "http://127.0.0.1/x")
    if code is None:
        return httpx2.Response(status, html="<h1>Bad Gateway</h1>", headers=headers, request=request)
    document = {"type": f"/errors/{code}", "title": "t", "status": status, "detail": "d", "code": code}
    headers["Content-Type"] = "application/problem+json"
    return httpx2.Response(status, json=document, headers=headers, request=request)


def lost(kind: type[httpx2.RequestError]) -> httpx2.RequestError:
    return kind("lost", request=httpx2.Request("GET", "http://127.0.0.1/x"))


@pytest.mark.parametrize(
    ("outcome", "again", "again_if_harmless"),
    [
        (lost(httpx2.ConnectError), True, True),
        (lost(httpx2.ReadError), False, True),
        (lost(httpx2.ReadTimeout), False, True),
        (lost(httpx2.LocalProtocolError), False, False),
        (answered(502), False, True),
        (answered(404), False, False),
        (answered(503, "busy", retry_after=True), True, True),
        (answered(503, "database_unavailable", retry_after=True), False, True),
        (answered(503, "not_migrated", retry_after=True), False, False),
        (answered(422, "migration_failed"), False, False),
    ],
    ids=lambda value: getattr(value, "status_code", None) or type(value).__name__,
)
def test_only_safe_requests_are_sent_again(outcome: Any, again: bool, again_if_harmless: bool) -> None:
    make = partial(Call, method="POST", path="/x", answer=MigrateResult)
    assert (Retries(make(), 60).pause_after(outcome) is not None) == again
    assert (Retries(make(is_repeatable=True), 60).pause_after(outcome) is not None) == again_if_harmless
    assert Retries(make(is_repeatable=True), 0).pause_after(outcome) is None


def retries(retry_for_s: float, reported: list[Any] | None = None) -> Retries:
    call = Call(method="GET", path="/x", answer=MigrateResult)
    return Retries(call, retry_for_s, reported.append if reported is not None else None)


def test_pauses_grow_up_to_five_seconds_and_are_reported() -> None:
    reported: list[Any] = []
    found = retries(1e6, reported)
    pauses = [found.pause_after(answered(502)) for _ in range(12)]
    assert all(pause is not None for pause in pauses)
    bounds = [0.2 * 2**number for number in range(5)] + [5.0] * 7
    assert all(bound / 2 <= (pause or 0) <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert [one.pause_s for one in reported] == pauses


def test_a_success_makes_the_next_failure_the_first() -> None:
    found = retries(1e6)
    for _ in range(8):
        found.pause_after(answered(502))
    found.succeeded()
    assert (found.pause_after(answered(502)) or 1) <= 0.2


def test_a_pause_is_at_least_as_long_as_retry_after() -> None:
    response = answered(503, "busy", retry_after=True)
    response.headers["Retry-After"] = "7"
    assert retries(1e6).pause_after(response) == 7
    assert retries(6).pause_after(response) is None


def test_an_untrusted_certificate_is_not_retried() -> None:
    error = lost(httpx2.ConnectError)
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert retries(1e6).pause_after(error) is None
