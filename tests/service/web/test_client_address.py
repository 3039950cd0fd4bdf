"""The client's address in the audit and in the limit on failed authentication."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.waiting import eventually

from ..conftest import bearer

if TYPE_CHECKING:
    from collections.abc import Callable

PEER = "10.0.0.1"
ADDRESSES = "SELECT address FROM pgdbm_service.audit ORDER BY id"


@pytest.mark.parametrize("trusted", [None, "127.0.0.0/8"])
def test_the_audit_and_the_failure_limit_use_the_client_address(
    start: Callable[..., Any], sql: Callable[..., Any], trusted: str | None
) -> None:
    service = start(auth="tokens", auth_failures_per_minute=2, trusted_proxies=trusted)
    clients = [f"203.0.113.{number}" for number in range(6)]
    answers = [
        service.post("/migrate", headers=bearer("x") | {"X-Forwarded-For": client}).status_code for client in clients
    ]
    if trusted:
        assert answers == [401] * 6
    else:
        # A client that sends a different header each time counts as one address.
        assert answers == [401] * 2 + [429] * 4
        clients = ["127.0.0.1"] * 2
    assert (
        eventually(lambda: (rows := sql(ADDRESSES)) and len(rows) >= len(clients) and [row[0] for row in rows])
        == clients
    )
