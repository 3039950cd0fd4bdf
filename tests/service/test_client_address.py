"""The address that the audit notes and the limit on failed authentication counts by: nobody can forge it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.client_address import parse_proxies
from pgdbm_service.settings import SettingsError, read_settings

from .conftest import bearer, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

PEER = "10.0.0.1"
ADDRESSES = "SELECT address FROM pgdbm_service.audit ORDER BY id"


@pytest.mark.parametrize(
    ("proxies", "headers", "address"),
    [
        (None, ["203.0.113.9"], PEER),
        ("10.0.0.0/8", [], PEER),
        ("10.0.0.0/8", ["203.0.113.9"], "203.0.113.9"),
        ("192.168.0.0/16", ["203.0.113.9"], PEER),
        # What the client wrote stands before what the proxies added.
        ("10.0.0.0/8", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.0/8", ["6.6.6.6", "203.0.113.9"], "203.0.113.9"),
        ("10.0.0.0/8", ["6.6.6.6,203.0.113.9,10.9.9.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6,203.0.113.9,10.9.9.9"], "10.9.9.9"),
        ("10.0.0.0/8", ["6.6.6.6, unknown"], PEER),
        ("10.0.0.0/8", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.0/8", ["203.0.113.9:4711"], "203.0.113.9"),
        ("10.0.0.0/8,2001:db8::/32", ["[2001:db8:1::7]:4711, 2001:db8::1"], "2001:db8:1::7"),
        ("*", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("*", ["6.6.6.6, unknown"], PEER),
        ("*", [], PEER),
    ],
)
def test_what_counts(proxies: str | None, headers: list[str], address: str) -> None:
    scope: Any = {"client": (PEER, 4711), "headers": [(b"x-forwarded-for", one.encode()) for one in headers]}
    assert parse_proxies(proxies).client_of(scope) == address


def test_over_a_socket_and_over_ipv6() -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.9")]
    scope: Any = {"client": None, "headers": headers}
    assert parse_proxies("10.0.0.0/8").client_of(scope) == "local"
    assert parse_proxies("*").client_of(scope) == "203.0.113.9"
    scope = {"client": ("::ffff:10.0.0.1", 1), "headers": headers}
    assert parse_proxies("10.0.0.0/8").client_of(scope) == "203.0.113.9"


@pytest.mark.parametrize("value", ["proxy.example", "10.0.0.1/8", "10.0.0.0/8, *"])
def test_a_bad_value_ends_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^PGDBM_TRUSTED_PROXIES: '[^']+' is no address and no network"):
        read_settings({"DATABASE_URL": "postgresql://h/d", "PGDBM_TRUSTED_PROXIES": value})


@pytest.mark.parametrize("trusted", [None, "127.0.0.0/8"])
def test_the_audit_and_the_limit_go_by_it(
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
        # Whoever says to be somebody else each time is one and the same.
        assert answers == [401] * 2 + [429] * 4
        clients = ["127.0.0.1"] * 2
    assert (
        eventually(lambda: (rows := sql(ADDRESSES)) and len(rows) >= len(clients) and [row[0] for row in rows])
        == clients
    )
