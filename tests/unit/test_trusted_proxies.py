"""The client's address by X-Forwarded-For, which cannot be forged."""

from __future__ import annotations

from typing import Any

import pytest

from pgdbm_service.settings import SettingsError, read_settings
from pgdbm_service.trusted_proxies import parse_proxies

PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("proxies", "headers", "address"),
    [
        (None, ["203.0.113.9"], PEER),
        ("10.0.0.0/8", [], PEER),
        ("10.0.0.0/8", ["203.0.113.9"], "203.0.113.9"),
        ("192.168.0.0/16", ["203.0.113.9"], PEER),
        # What the client wrote comes before what the proxies added.
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
def test_the_header_counts_from_its_end_as_long_as_proxies_are_trusted(
    proxies: str | None, headers: list[str], address: str
) -> None:
    scope: Any = {"client": (PEER, 4711), "headers": [(b"x-forwarded-for", one.encode()) for one in headers]}
    assert parse_proxies(proxies).client_of(scope) == address


def test_unix_sockets_and_mapped_addresses_are_understood() -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.9")]
    scope: Any = {"client": None, "headers": headers}
    assert parse_proxies("10.0.0.0/8").client_of(scope) == "local"
    assert parse_proxies("*").client_of(scope) == "203.0.113.9"
    scope = {"client": ("::ffff:10.0.0.1", 1), "headers": headers}
    assert parse_proxies("10.0.0.0/8").client_of(scope) == "203.0.113.9"


@pytest.mark.parametrize("value", ["proxy.example", "10.0.0.1/8", "10.0.0.0/8, *"])
def test_an_invalid_value_ends_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^PGDBM_TRUSTED_PROXIES: '[^']+' is neither an address nor a network"):
        read_settings({"DATABASE_URL": "postgresql://h/d", "PGDBM_TRUSTED_PROXIES": value})


def test_only_a_trusted_proxy_says_that_the_browser_uses_tls() -> None:
    scope: Any = {"client": (PEER, 4711), "headers": [(b"x-forwarded-proto", b"https")]}
    assert parse_proxies("10.0.0.0/8").scheme_of(scope) == "https"
    assert parse_proxies("192.168.0.0/16").scheme_of(scope) is None
    assert parse_proxies(None).scheme_of(scope) is None
