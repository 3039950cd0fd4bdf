"""Which connections are served without authentication, and which pages may change anything."""

from __future__ import annotations

from typing import Any

import pytest

from pgdbm_service.auth.origins import Origins
from pgdbm_service.errors import ServiceError
from pgdbm_service.settings import Settings
from pgdbm_service.trusted_proxies import parse_proxies

ORIGINS = Origins(Settings(), parse_proxies(""))


def scope(method: str = "POST", server: Any = ("127.0.0.1", 8000), **headers: str) -> Any:
    return {
        "method": method,
        "server": server,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }


@pytest.mark.parametrize("server", [("127.0.0.1", 8000), ("::1", 8000), ("127.9.9.9", 1), ("/run/pgdbm.sock", None)])
@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000"])
def test_loopback_is_served(server: Any, host: str) -> None:
    ORIGINS.check(scope(server=server, host=host))


@pytest.mark.parametrize(
    ("server", "host"),
    [
        (("10.0.0.1", 8000), "localhost"),
        (("0.0.0.0", 8000), "localhost"),
        (None, "localhost"),
        (("127.0.0.1", 8000), "example.com"),
        (("127.0.0.1", 8000), "localhost.example.com"),
        (("127.0.0.1", 8000), "127.0.0.1.example.com:8000"),
        (("127.0.0.1", 8000), "10.0.0.1:8000"),
        (("127.0.0.1", 8000), ""),
        (("/run/pgdbm.sock", None), "example.com"),
    ],
)
def test_another_address_or_name_is_refused(server: Any, host: str) -> None:
    with pytest.raises(ServiceError) as caught:
        ORIGINS.check(scope(server=server, host=host))
    assert caught.value.code == "not_loopback"


@pytest.mark.parametrize(
    ("method", "origin", "allowed"),
    [
        ("POST", None, True),
        ("POST", "http://localhost:8000", True),
        ("POST", "https://localhost:8000", True),
        ("POST", "http://localhost:9000", False),
        ("POST", "http://evil.example", False),
        ("PUT", "null", False),
        ("DELETE", "http://evil.example", False),
        ("GET", "http://evil.example", True),
        ("HEAD", "http://evil.example", True),
        ("OPTIONS", "http://evil.example", True),
    ],
)
def test_only_a_page_of_the_service_may_change_anything(method: str, origin: str | None, allowed: bool) -> None:
    request = scope(method, host="localhost:8000", **({} if origin is None else {"origin": origin}))
    if allowed:
        ORIGINS.check(request)
        return
    with pytest.raises(ServiceError) as caught:
        ORIGINS.check(request)
    assert caught.value.code == "cross_origin"
