"""The audit log: principal, action, time and result of each change."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


ENTRIES = "SELECT * FROM pgdbm_service.audit ORDER BY id"


def test_changes_are_recorded_with_their_principal(
    start: Callable[..., Any],
    repo: Any,
    sql: Callable[..., Any],
    make_token: Any,
    eventually: Callable[..., Any],
) -> None:
    repo.write("orders", _001_a="SELECT 1")
    repo.write("users", _001_a="SELECT 1/0")
    service = start(auth="tokens")
    admin, reader = bearer(make_token("admin", name="root")), bearer(make_token("read", name="reader"))
    before = datetime.now(UTC)

    def post(path: str, headers: dict[str, str], request_id: str) -> None:
        service.post(path, headers=headers | {"X-Request-ID": request_id})

    post("/modules/orders/migrate", admin, "one")
    post("/modules/users/migrate", admin, "two")
    post("/modules/orders/migrate", reader, "three")
    post("/modules/orders/migrate", {}, "four")
    post("/modules/orders/migrate", bearer("nonsense"), "five")
    post("/migrate?x=1", admin, "six")
    post("/modules/no%00thing/migrate", admin, "seven")
    service.client.delete("/tokens/x", headers=admin)
    # Reads and unknown paths are not recorded.
    service.get("/modules", headers=admin)
    service.get("/modules")
    post("/nothing", admin, "nothing")
    service.client.put("/modules", headers=admin)

    entries = eventually(lambda: _at_least(8, service.get("/audit", headers=admin).json()["items"]))
    reported = [
        (
            one["request_id"],
            one["principal"],
            one["method"],
            one["path"],
            one["module"],
            one["http_status"],
            one["problem_code"],
        )
        for one in reversed(entries)
    ]
    migrate = ("POST", "/modules/{module}/migrate")
    assert reported[:7] == [
        ("one", "token:root", *migrate, "orders", 200, None),
        ("two", "token:root", *migrate, "users", 422, "migration_failed"),
        ("three", "token:reader", *migrate, "orders", 403, "forbidden"),
        ("four", "anonymous", *migrate, "orders", 401, "unauthenticated"),
        ("five", "anonymous", *migrate, "orders", 401, "unauthenticated"),
        ("six", "token:root", "POST", "/migrate", None, 400, "invalid_request"),
        ("seven", "token:root", *migrate, "no�thing", 404, "module_unknown"),
    ]
    assert reported[7][1:] == ("token:root", "DELETE", "/tokens/{token_id}", None, 404, "token_unknown")
    assert len(reported) == 8
    for one in entries:
        assert one["address"] == "127.0.0.1"
        assert before <= datetime.fromisoformat(one["at"]) <= datetime.now(UTC)
    assert service.get("/audit", headers=reader).status_code == 403


def _at_least(count: int, items: list[Any]) -> list[Any] | None:
    return items if len(items) >= count else None


def test_audit_entries_are_paged_and_filtered(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    for module in ("a", "b"):
        repo.write(module, _001_a="SELECT 1")
    service = start()
    for number in range(6):
        service.post(f"/modules/{'ab'[number % 2]}/migrate", headers={"X-Request-ID": f"r{number}"})
    eventually(lambda: len(sql(ENTRIES)) == 6)

    def read(query: str) -> list[str]:
        found, after = [], ""
        while after is not None:
            page = service.get(f"/audit?limit=2{query}{after and f'&next={after}'}").json()
            assert len(page["items"]) <= 2
            found += [one["request_id"] for one in page["items"]]
            after = page["next"]
        assert (page["total"], page["total_is_capped"]) == (len(found), False)
        return found

    assert read("") == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert read("&module=a") == ["r4", "r2", "r0"]
    assert read("&principal=anonymous&module=b") == ["r5", "r3", "r1"]
    assert read("&principal=token:x") == []
    for query in ("next=x", "limit=0", "limit=201", "module=%00", "unknown=1"):
        assert service.get(f"/audit?{query}").status_code == 400, query


def test_a_clean_shutdown_writes_every_entry(
    fork: Callable[..., Any], repo: Any, database: str, sql: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    process = fork(DATABASE_URL=database, PGDBM_TRUSTED_PROXIES="127.0.0.1")
    url = process.url()
    with httpx2.Client(base_url=url, headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}) as client:
        for _ in range(50):
            client.post("/modules/m/migrate")
    process.popen.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    assert [one["address"] for one in sql(ENTRIES)] == ["203.0.113.9"] * 50


def test_entries_are_written_after_an_outage(
    start: Callable[..., Any],
    repo: Any,
    proxied: str,
    proxy: Any,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=proxied, database_timeout_s=0.5)
    assert service.post("/modules/m/migrate").status_code == 200
    eventually(lambda: len(sql(ENTRIES)) == 1)
    proxy.stall()
    for _ in range(3):
        assert service.post("/modules/m/migrate").status_code == 503
    assert len(sql(ENTRIES)) == 1
    proxy.resume()
    eventually(lambda: len(sql(ENTRIES)) == 4)
    assert [one["problem_code"] for one in sql(ENTRIES)] == [None, *["database_unavailable"] * 3]


def test_entries_that_cannot_be_stored_are_logged(
    start: Callable[..., Any], repo: Any, proxied: str, proxy: Any, watch: Any, monkeypatch: Any
) -> None:
    from pgdbm_service.features.audit import recorder

    monkeypatch.setattr(recorder, "_MAX_PENDING", 1)
    service = start(database_url=proxied, database_timeout_s=0.5)
    proxy.stall()
    for number in range(3):
        service.post("/migrate?x=1", headers={"X-Request-ID": f"kept-{number}"})
    # The first entry waits for the database, and the next one may already be queued.
    assert {"kept-1", "kept-2"} & set(watch.logged().replace('"', " ").split())
    proxy.resume()


def test_unauthenticated_requests_do_not_fill_the_table(
    start: Callable[..., Any], sql: Callable[..., Any], make_token: Any, eventually: Callable[..., Any]
) -> None:
    service = start(auth="tokens", auth_failures_per_minute=2)
    admin = bearer(make_token("admin"))
    assert service.get("/tokens", headers=admin).status_code == 200
    answers = [service.post("/migrate").status_code for _ in range(20)]
    answers += [service.post("/migrate", headers=bearer("x")).status_code for _ in range(20)]
    service.client.delete("/tokens/x", headers=admin)
    eventually(lambda: [one for one in sql(ENTRIES) if one["http_status"] == 404])
    assert len(sql(ENTRIES)) == answers.count(401) + 1 < 10
