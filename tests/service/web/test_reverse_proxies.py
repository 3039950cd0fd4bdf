"""Behind a reverse proxy: path prefixes, public host names, origins, CORS."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest

from pgdbm_service.settings import SettingsError, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

PROXY = {"trusted_proxies": "127.0.0.1"}
PREFIX = {"X-Forwarded-Prefix": "/pgdbm"}
PUBLIC = "http://pgdbm.example.com"


def prefixed_paths(service: Any, headers: dict[str, str], prefix: str) -> None:
    """Every link of the service leads below ``prefix``."""
    run = service.post("/modules/slow/migrate", headers={"Prefer": "respond-async", **headers})
    assert run.status_code == 202
    location = urljoin(f"{PUBLIC}{prefix}/modules/slow/migrate", run.headers["location"])
    assert location == f"{PUBLIC}{prefix}/runs/{run.json()['id']}"
    browser = {"Accept": "text/html", **headers}
    assert service.get("/", headers=browser, follow_redirects=False).headers["location"] == f"{prefix}/ui"
    assert service.get("/", headers=headers).json()["links"]["modules"] == f"{prefix}/modules"
    page = service.get("/docs", headers=headers).text
    links = re.findall(r'(?:href|src|data-url)="(/[^"]*)"', page)
    assert len(links) == 3
    for link in links:
        assert link.startswith(f"{prefix}/")
        assert service.get(link.removeprefix(prefix), headers=headers).status_code == 200
    document = service.get("/docs/openapi.json", headers=headers).json()
    assert document["servers"] == [{"url": prefix or "/"}]
    problem = service.get("/modules/nope", headers=headers).json()
    assert (problem["type"], problem["instance"]) == (f"{prefix}/errors/module_unknown", f"{prefix}/modules/nope")


@pytest.fixture
def slow(repo: Any) -> None:
    repo.write("slow", _001_a="SELECT pg_sleep(0.1)")


@pytest.mark.usefixtures("slow")
def test_links_have_the_prefix_of_a_trusted_proxy(start: Callable[..., Any]) -> None:
    service = start(**PROXY)
    prefixed_paths(service, PREFIX, "/pgdbm")
    assert service.get("/docs/openapi.json").json()["servers"] == [{"url": "/"}]
    for invalid in ("pgdbm", "//evil.example", "/a b", '/"><script>', "/../x"):
        document = service.get("/docs/openapi.json", headers={"X-Forwarded-Prefix": invalid}).json()
        assert document["servers"] == [{"url": "/"}], invalid


@pytest.mark.usefixtures("slow")
def test_a_configured_prefix(start: Callable[..., Any]) -> None:
    """The proxy may strip it from requests, or not."""
    service = start(path_prefix="/pgdbm")
    prefixed_paths(service, {}, "/pgdbm")
    assert service.get("/pgdbm/modules").status_code == 200
    assert service.get("/pgdbm/modules/nope").json()["instance"] == "/pgdbm/modules/nope"
    assert service.get("/pgdbmx/modules").status_code == 404


def test_no_prefix_of_a_client_that_is_not_trusted(service: Any) -> None:
    assert service.get("/docs/openapi.json", headers=PREFIX).json()["servers"] == [{"url": "/"}]


def test_the_public_host_of_a_trusted_proxy_counts_for_origins(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    page = {"Origin": "http://pgdbm.example.com"}
    forwarded = page | {"X-Forwarded-Host": "pgdbm.example.com"}
    service = start(**PROXY, allowed_hosts="pgdbm.example.com")
    assert service.post("/migrate", headers=forwarded).status_code == 200
    refused = service.post("/migrate", headers=page)
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin")
    assert "PGDBM_TRUSTED_PROXIES" in refused.json()["hint"]
    foreign = forwarded | {"Origin": "http://evil.example"}
    assert service.post("/migrate", headers=foreign).json()["code"] == "cross_origin"


def test_the_public_host_of_others_does_not_count(service: Any) -> None:
    headers = {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"}
    assert service.post("/migrate", headers=headers).json()["code"] == "cross_origin"


def test_cors(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    page = {"Origin": "https://dashboard.example.com"}
    service = start(cors_origins="https://dashboard.example.com, https://other.example.com")
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization,if-match"}
    preflight = service.client.options("/modules/m", headers=page | asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == page["Origin"]
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    answer = service.post("/migrate", headers=page)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page["Origin"])
    assert "Location" in answer.headers["access-control-expose-headers"]
    refused = service.get("/modules/nope", headers=page)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (404, page["Origin"])
    foreign = {"Origin": "https://evil.example"}
    assert service.client.options("/modules/m", headers=foreign | asked).status_code == 400
    assert "access-control-allow-origin" not in service.get("/modules", headers=foreign).headers
    assert service.post("/migrate", headers=foreign).status_code == 403


@pytest.mark.parametrize("host", ["evil.example:8000", "evil.example", "127.0.0.1.evil.example", ""])
def test_without_auth_unknown_hosts_are_refused(start: Callable[..., Any], host: str) -> None:
    """A page can make its own host name resolve to this service (DNS rebinding)."""
    service = start(allow_unauthenticated=True)
    headers = {"Host": host, "Origin": f"http://{host}"}
    refused = service.client.put("/modules/pwn", json={"migrations": []}, headers=headers)
    assert refused.status_code in (400, 403)
    assert host == "" or refused.json()["code"] == "host_not_allowed"
    for accepted in ("10.1.2.3:8000", "[::1]:8000", "localhost:8000", "LOCALHOST"):
        assert service.get("/modules", headers={"Host": accepted}).status_code == 200


def test_allowed_hosts(start: Callable[..., Any]) -> None:
    service = start(allow_unauthenticated=True, allowed_hosts="pgdbm, *.shop.svc")
    for host, status in {"pgdbm:8000": 200, "db.SHOP.svc": 200, "shop.svc": 403, "evil.example": 403}.items():
        assert service.get("/modules", headers={"Host": host}).status_code == status, host


def test_any_host_with_auth(start: Callable[..., Any], make_token: Callable[..., str]) -> None:
    headers = {"Authorization": f"Bearer {make_token('read')}"}
    service = start(auth="tokens")
    assert service.get("/modules", headers=headers | {"Host": "pgdbm.example.com"}).status_code == 200


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGDBM_PATH_PREFIX", "pgdbm"),
        ("PGDBM_PATH_PREFIX", "/pgdbm/"),
        ("PGDBM_CORS_ORIGINS", "dashboard.example.com"),
        ("PGDBM_CORS_ORIGINS", "https://dashboard.example.com/"),
        ("PGDBM_CORS_ORIGINS", "*"),
    ],
)
def test_invalid_settings(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read_settings({variable: value, "DATABASE_URL": "postgresql://localhost/x"})
