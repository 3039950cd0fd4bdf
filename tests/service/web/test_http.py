"""Common to all calls: errors, request ids, documentation, and host names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx2

from pgdbm.version import __version__
from pgdbm_service.errors.codes import ERROR_KINDS
from pgdbm_service.web.pagination import cursor_of

from ...conftest import ROOT
from ...support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

PAGES = ROOT / "docs" / "reference" / "errors"


ERRORS = [
    ("GET", "/nothing", 404, "not_found"),
    ("GET", "/modules/m/nothing", 404, "not_found"),
    ("GET", "/static/swagger-ui/nothing.js", 404, "not_found"),
    ("GET", "/static/swagger-ui/..%2f..%2fsettings/fields.py", 404, "not_found"),
    ("GET", "/errors/nothing", 404, "not_found"),
    ("PUT", "/modules", 405, "method_not_allowed"),
    ("GET", "/migrate", 405, "method_not_allowed"),
    ("GET", "/modules/%00", 404, "module_unknown"),
    ("GET", "/schemas/%00", 404, "schema_unknown"),
    ("GET", "/modules/m?x=1", 400, "invalid_request"),
    ("GET", "/health/live?x=1", 400, "invalid_request"),
]


def test_errors_are_problem_documents(service: Any) -> None:
    for method, path, status, code in ERRORS:
        response = service.client.request(method, path)
        assert response.headers["content-type"] == "application/problem+json", (method, path)
        problem = response.json()
        assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), (method, path)
        assert problem["type"] == f"/errors/{code}"
        assert problem["instance"] == path.partition("?")[0]
        if status == 405:
            assert method not in response.headers["allow"]


def test_what_no_column_can_hold_is_not_a_failure_of_the_service(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    service.sync()
    run = service.post("/modules/m/migrate").json()["run_id"]
    cursor = cursor_of(2**200)
    for path in (
        f"/runs?next={cursor}",
        f"/runs/{run}/schemas?next={cursor}",
        f"/modules/m/migrations?next={cursor}",
        f"/modules/m/history?next={cursor}",
        f"/modules/m/journal?next={cursor}",
        f"/modules/m/bundles?next={cursor}",
        f"/audit?next={cursor}",
        f"/tokens?next={cursor}",
        f"/ui/modules/m?tab=bundles&next={cursor}",
    ):
        assert service.get(path).status_code == 200, path
    events = service.get(f"/runs/{run}/events", headers={"Last-Event-ID": "9" * 5000})
    assert events.status_code == 200
    for pid in (2**31, 0, -1, -(2**40)):
        terminated = service.post(f"/activity/backends/{pid}/terminate")
        assert (terminated.status_code, terminated.json()["code"]) == (404, "backend_unknown")
    before_all_years = service.get("/runs", params={"since": "0001-01-01T00:00:00+14:00"})
    assert before_all_years.json()["errors"] == [{"field": "since", "message": "is outside the years 1 to 9999"}]
    assert service.client.put("/freeze", json={"reason": "a\x00b"}).status_code == 400


def test_type_is_the_address_of_a_page(service: Any) -> None:
    for code, kind in ERROR_KINDS.items():
        page = service.get(kind.type)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/plain")
        assert page.text == (PAGES / f"{code}.md").read_text(), (
            "write the pages again: python -m pgdbm_service.errors.codes docs/reference/errors"
        )
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == set(ERROR_KINDS)


def test_an_unexpected_error_is_a_500_without_details(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from pgdbm_service.database.pool import Database

    service = start()

    def fail(_: Any, work: Any) -> None:
        work.close()
        raise RuntimeError("secret postgresql://user:hunter2@host/db of the inside")

    monkeypatch.setattr(Database, "with_timeout", fail)
    response = service.get("/schemas/public")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (500, "internal_error")
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    log = capfd.readouterr().err
    assert problem["request_id"] in log
    assert "of the inside" in log
    assert "hunter2" not in log


def test_request_ids_are_returned(service: Any) -> None:
    for path in ("/health/live", "/nothing"):
        assert service.get(path, headers={"X-Request-ID": "abc-1.2"}).headers["x-request-id"] == "abc-1.2"
        made = service.get(path).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
        for bad in ("a b", "x" * 200, "<script>", ""):
            answered = service.get(path, headers={"X-Request-ID": bad}).headers["x-request-id"]
            assert re.fullmatch("[0-9a-f]{32}", answered)


def test_each_request_is_logged_once(start: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    import msgspec

    service = start(log_level="info", log_format="json")
    service.get("/schemas/nothing?system=true&password=hunter2", headers={"X-Request-ID": "find-me"})
    text, lines = "", []

    def logged() -> Any:
        # The line is written after the answer.
        nonlocal text, lines
        text += capfd.readouterr().err
        lines = [msgspec.json.decode(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [one for one in lines if one.get("request_id") == "find-me" and one["event"] == "request"]

    (line,) = eventually(logged)
    assert (line["method"], line["path"], line["http_status"]) == ("GET", "/schemas/{schema}", 400)
    assert line["problem_code"] == "invalid_request"
    assert line["duration_ms"] >= 0
    assert not any("hunter2" in str(line) for line in lines if line["logger"] != "httpx2")


def test_a_browser_is_sent_to_the_dashboard_and_a_program_gets_the_links(service: Any) -> None:
    browser = service.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert (browser.status_code, browser.headers["location"]) == (302, "/ui")
    for accept in ("application/json", "*/*"):
        answer = service.get("/", headers={"Accept": accept})
        assert answer.headers["vary"] == "Accept"
        document = answer.json()
        assert (document["name"], document["version"]) == ("pgdbm", __version__)
        assert len(document["links"]) > 10
    for path in document["links"].values():
        # A stream of events has no end.
        with service.client.stream("GET", path) as linked:
            assert linked.status_code == 200, path


def test_the_docs_load_no_external_files(service: Any) -> None:
    page = service.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert re.findall(r"(?:https?:)?//[a-z0-9.-]+", page.text) == []
    for address in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
        file = service.get(address)
        assert file.status_code == 200
        assert len(file.content) > 1000
        assert b"sourceMappingURL" not in file.content
    assert '"/docs/openapi.json"' in page.text


def test_openapi_describes_every_answer(service: Any) -> None:
    document = service.get("/docs/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    calls = [(path, method, call) for path, methods in document["paths"].items() for method, call in methods.items()]
    assert {path for path, _, _ in calls} >= {
        "/schemas",
        "/schemas/{schema}",
        "/modules",
        "/modules/{module}",
        "/modules/{module}/migrations",
        "/modules/{module}/migrations/{filename}",
        "/modules/{module}/history",
        "/modules/{module}/migrate",
        "/modules/{module}/plan",
        "/modules/{module}/ready",
        "/migrate",
        "/health/live",
        "/health/ready",
    }
    for path, _, call in calls:
        for status, answer in call["responses"].items():
            if status >= "400":
                assert list(answer["content"]) == ["application/problem+json"], (path, status)
        assert call["description"], path
    migrate = document["paths"]["/modules/{module}/migrate"]["post"]
    assert migrate["requestBody"]["required"] is False
    assert {"200", "400", "403", "404", "409", "413", "422", "503"} <= set(migrate["responses"])
    assert len({call["operationId"] for _, _, call in calls}) == len(calls)


def test_other_host_names_are_refused(service: Any) -> None:
    ours = ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8000", "[::1]", "[::1]:8000"]
    for host in ours:
        assert service.get("/health/live", headers={"Host": host}).status_code == 200, host
    theirs = [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[::2]",
    ]
    for host in theirs:
        for path in ("/modules", "/health/live", "/docs", "/"):
            response = service.get(path, headers={"Host": host})
            assert (response.status_code, response.json()["code"]) == (403, "not_loopback"), (host, path)
        assert service.post("/migrate", headers={"Host": host}).status_code == 403


def test_another_sites_page_cannot_migrate(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a="SELECT 1")
    service.sync()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        response = service.post("/migrate", headers={"Origin": origin})
        assert (response.status_code, response.json()["code"]) == (403, "cross_origin")
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'm'") == []
    assert service.post("/migrate", headers={"Origin": service.url}).status_code == 200


def test_any_host_name_is_served_where_it_is_allowed(start: Callable[..., Any]) -> None:
    service = start(allow_unauthenticated=True, allowed_hosts="pgdbm.example")
    assert service.get("/health/live", headers={"Host": "pgdbm.example"}).status_code == 200


def test_health_reports_each_check(service: Any) -> None:
    assert service.get("/health/live").json() == {"state": "live"}
    ready = service.get("/health/ready").json()
    assert ready["state"] == "ready"
    checks = {check["name"]: check["ok"] for check in ready["checks"]}
    assert checks == {"database": True, "modules": True, "accepting_migrations": True}


def test_options_lists_the_methods(service: Any) -> None:
    response = httpx2.options(f"{service.url}/modules")
    assert response.status_code == 204
