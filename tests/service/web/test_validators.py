"""Reads with an ETag of their content, and messages that list what is legal."""

from __future__ import annotations

from typing import Any

import pytest

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def test_an_unchanged_answer_is_not_sent_again(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    for path in ("/modules", "/modules/m/migrations", "/modules/m/migrations/001_a.sql", "/errors", "/errors/busy"):
        first = service.get(path)
        tag = first.headers["etag"]
        again = service.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), path
        assert service.get(path, headers={"If-None-Match": '"other"'}).content == first.content
    tag = service.get("/modules/m/migrations").headers["etag"]
    service.post("/modules/m/migrate")
    changed = service.get("/modules/m/migrations", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["items"][0]["state"]) == (200, "applied")


def test_what_changes_with_each_read_has_no_validator(service: Any) -> None:
    for path in ("/activity/pool", "/health/ready", "/metrics"):
        assert "etag" not in service.get(path).headers, path


def test_errors_are_listed(service: Any) -> None:
    listed = {one["code"]: one for one in service.get("/errors").json()["items"]}
    assert listed["lock_timeout"] == {
        "code": "lock_timeout",
        "http_status": 503,
        "title": "A lock was not available",
        "type": "/errors/lock_timeout",
        "retry_after": 5,
    }
    assert all(service.get(one["type"]).status_code == 200 for one in listed.values())


@pytest.mark.parametrize(
    ("method", "path", "body", "detail"),
    [
        ("POST", "/modules/m/migrate", {"on_failure": "x"}, "on_failure: 'x' is not one of stop, continue."),
        ("POST", "/modules/m/migrate", {"atomic": "x"}, "atomic: 'x' is not one of file, all."),
        ("PUT", "/modules/n?out_of_order=x", {"migrations": []}, "out_of_order: 'x' is not one of allow, reject."),
        (
            "PUT",
            "/modules/n",
            {"migrations": [], "out_of_order": "x"},
            "out_of_order: 'x' is not one of allow, reject.",
        ),
        ("GET", "/modules?state=x", None, "state: 'x' is not one of unknown, partial, "),
        ("GET", "/modules/m/schemas?state=x", None, "state: 'x' is not one of "),
        (
            "GET",
            "/runs/00000000-0000-0000-0000-000000000000/schemas?status=x",
            None,
            "status: 'x' is not one of queued, running, succeeded, failed, cancelled, not_reached.",
        ),
        (
            "POST",
            "/modules/m/mark",
            None,
            "body: it is empty: send a JSON object. Required: filename, applied; optional: schema.",
        ),
        (
            "POST",
            "/modules/m/mark",
            {},
            "body: Object missing required field filename. Required: filename, applied; optional: schema.",
        ),
        (
            "POST",
            "/tokens",
            None,
            "body: it is empty: send a JSON object. Required: name, scopes; optional: expires.",
        ),
        ("DELETE", "/runs/00000000-0000-0000-0000-000000000000/retry", None, "This address supports OPTIONS, POST."),
    ],
)
def test_a_message_lists_what_is_legal(
    service: Any, method: str, path: str, body: dict[str, Any] | None, detail: str
) -> None:
    answer = service.client.request(method, f"{service.url}{path}", json=body)
    assert answer.json()["detail"].startswith(detail), answer.json()["detail"]
