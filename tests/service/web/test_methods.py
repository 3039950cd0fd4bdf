"""HEAD answers as GET, without the body; OPTIONS and 405 list every method of a path."""

from __future__ import annotations

import re
from typing import Any

import pytest

PATHS = [
    *("/", "/docs", "/docs/openapi.json", "/health/live", "/health/ready", "/metrics", "/modules", "/modules/nope"),
    *("/runs", "/schemas", "/errors/forbidden", "/static/swagger-ui/swagger-ui.css"),
]


@pytest.mark.parametrize("path", PATHS)
def test_head(service: Any, path: str) -> None:
    got, head = service.get(path, follow_redirects=False), service.client.head(path, follow_redirects=False)
    assert (head.status_code, head.content) == (got.status_code, b"")
    differing = {"x-request-id", "date", "content-length", "etag", "last-modified"}
    assert {k: v for k, v in head.headers.items() if k not in differing} == {
        k: v for k, v in got.headers.items() if k not in differing
    }


def test_head_has_the_validator_of_get_on_every_path(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id int)")
    service.sync()
    run = service.post("/modules/m/migrate").json()["run_id"]
    values = {"name": "m", "run_id": run, "filename": "001_a.sql", "code": "forbidden", "schema": "m", "table": "t"}
    document = service.get("/docs/openapi.json").json()["paths"]
    documented = [path for path, methods in document.items() if "get" in methods]
    paths = [re.sub(r"\{(\w+)\}", lambda name: values.get(name[1], "7"), path) for path in documented]
    validated = 0
    for path in sorted({*paths, *PATHS, "/ui", "/ui/runs", "/ui/modules/m", f"/ui/runs/{run}"}):
        got, head = headers_of(service, "GET", path), headers_of(service, "HEAD", path)
        assert (head.status_code, "etag" in head.headers) == (got.status_code, "etag" in got.headers), path
        if got.headers.get("etag") != headers_of(service, "GET", path).headers.get("etag"):
            continue  # its content changes with time
        assert head.headers.get("etag") == got.headers.get("etag"), path
        if "etag" in got.headers:
            validated += 1
            same = service.client.head(path, headers={"If-None-Match": got.headers["etag"]})
            asked = service.client.get(path, headers={"If-None-Match": got.headers["etag"]})
            assert (same.status_code, same.content) == (asked.status_code, b""), path
    assert validated >= 15


def headers_of(service: Any, method: str, path: str) -> Any:
    """The answer without its body, which may have no end."""
    with service.client.stream(method, path, follow_redirects=False) as answer:
        return answer


def test_head_of_a_stream_ends(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(1)")
    service.sync()
    run = service.post("/modules/m/migrate", headers={"Prefer": "respond-async"}).json()["id"]
    head = service.client.head(f"/runs/{run}/events", timeout=0.9)
    assert (head.status_code, head.headers["content-type"].split(";")[0]) == (200, "text/event-stream")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/modules", "GET, HEAD, OPTIONS"),
        ("/modules/m", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/modules/m/migrate", "OPTIONS, POST"),
        ("/tokens", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_options_and_405(service: Any, path: str, allowed: str) -> None:
    options = service.client.options(path)
    assert (options.status_code, options.headers["allow"], options.content) == (204, allowed, b"")
    refused = service.client.request("PATCH", path)
    assert refused.status_code == 405
    assert {*refused.headers["allow"].split(", ")} == {*allowed.split(", ")}


def test_unknown_pages_of_the_docs_are_problems(service: Any) -> None:
    for path in ("/docs/nope", "/docs/nope/nope"):
        missing = service.get(path)
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
        assert missing.json()["code"] == "not_found"
