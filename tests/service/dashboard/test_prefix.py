"""The pages below a path of a reverse proxy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from .test_pages import BAD, PAGES, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

PROXIED = {"X-Forwarded-Prefix": "/pgdbm"}
ADDRESS = re.compile(r'[\w:-]+=\\?"(/[^"\\]*)')


def without_prefix(text: str) -> list[str]:
    """The addresses in attributes that are not below the prefix."""
    return [one for one in ADDRESS.findall(text) if not one.startswith("/pgdbm/") or one.startswith("/pgdbm/pgdbm")]


@pytest.fixture
def service(start: Callable[..., Any], repo: Any) -> Any:
    repo.write("m", _001_a=TABLE)
    repo.write("bad", _001_a=BAD)
    service = start(trusted_proxies="127.0.0.1", stream_keep_alive_s=0.5)
    service.post("/modules/bad/migrate")
    return service


def test_every_address_has_the_prefix(service: Any) -> None:
    run = service.get("/runs").json()["items"][0]["id"]
    for path in (*PAGES, f"/ui/runs/{run}", "/ui/modules/nothing", "/ui/tokens", "/ui/tokens/new"):
        page = service.get(path, headers=PROXIED)
        assert len(ADDRESS.findall(page.text)) > 5, path
        assert without_prefix(page.text) == [], path
        assert int(page.headers["content-length"]) == len(page.content)
        assert "/pgdbm/" not in service.get(path).text
    head = service.client.head("/ui", headers=PROXIED)
    assert head.status_code == 200


def test_a_stream_has_the_prefix(service: Any) -> None:
    with service.client.stream("GET", "/ui/live", headers=PROXIED) as stream:
        sent = next(text for text in stream.iter_text() if "href=" in text)
    assert ADDRESS.findall(sent) != []
    assert without_prefix(sent) == []


def test_so_has_a_redirect(service: Any) -> None:
    answer = service.post("/ui/modules/m/migrate", data={}, headers=PROXIED, follow_redirects=False)
    assert answer.headers["location"].startswith("/pgdbm/ui/runs/")


def test_text_that_is_not_an_address_is_unchanged(service: Any) -> None:
    page = service.get("/ui/runs", params={"module": ' href="/x'}, headers=PROXIED)
    assert "/pgdbm/x" not in page.text
