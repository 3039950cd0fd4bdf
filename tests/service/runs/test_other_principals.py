"""What one principal registers and migrates does not prevent others from doing the same."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLEEPING = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def clients(
    start: Callable[..., Any], make_token: Callable[..., str], sql: Callable[..., Any]
) -> Iterator[tuple[httpx2.Client, httpx2.Client]]:
    """The calls of two teams, to a service with two slots."""
    made: list[httpx2.Client] = []
    service = start(auth="tokens", max_connections=4, reconcile_s=1, metrics_sample_s=0.05)
    for team in ("a", "b"):
        token = make_token("read", f"register:{team}*", f"migrate:{team}*")
        made.append(httpx2.Client(base_url=service.url, headers={"Authorization": f"Bearer {token}"}, timeout=150))
    yield made[0], made[1]
    for one in made:
        one.close()
    sql("UPDATE pgdbm_service.runs SET cancel_requested_at = now() WHERE status IN ('queued', 'running')")
    sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")


def put(client: httpx2.Client, module: str, content: str, **settings: Any) -> None:
    body = {"migrations": [{"filename": "001_a.sql", "content": content}]} | settings
    answer = client.put(f"/modules/{module}", content=json.dumps(body))
    assert answer.status_code in (200, 201), answer.text


def migrates(client: httpx2.Client, module: str) -> None:
    put(client, module, "CREATE TABLE {{tables.t}} ()")
    answer = client.post(f"/modules/{module}/migrate", headers={"Prefer": "wait=120"})
    assert answer.json().get("status") == "success", answer.text
    listed = client.get("/modules")
    assert listed.status_code == 200, listed.text
    states = {one["name"]: one["state"] for one in listed.json()["items"]}
    assert states[module] == "up_to_date"


def test_modules_that_hang(
    clients: tuple[httpx2.Client, httpx2.Client], sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """They take no more than all slots but one, and the queue passes on what others have put into it."""
    first, second = clients
    for number in range(12):
        put(first, f"a{number}", "SELECT pg_sleep(600)")
        assert first.post(f"/modules/a{number}/migrate", headers=ASYNC).status_code == 202
    eventually(lambda: sql(SLEEPING))
    migrates(second, "b")
    assert len(sql(SLEEPING)) == 1
    assert second.get("/health/ready").status_code == 200


def test_a_module_that_hangs_in_many_schemas(
    clients: tuple[httpx2.Client, httpx2.Client], sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    first, second = clients
    put(first, "a", "SELECT pg_sleep(600)", schemas=[f"a{number}" for number in range(20)])
    assert first.post("/modules/a/migrate", headers=ASYNC).status_code == 202
    eventually(lambda: sql(SLEEPING))
    migrates(second, "b")


def test_operations_that_hang(
    clients: tuple[httpx2.Client, httpx2.Client], sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Operations and runs of a principal together use all slots but one."""
    first, second = clients
    files = {"001_a.sql": "SELECT 1", "001_a.down.sql": "SELECT pg_sleep(600)"}
    body = {"migrations": [{"filename": name, "content": content} for name, content in files.items()]}
    for module in ("a1", "a2"):
        assert first.put(f"/modules/{module}", json=body).status_code == 201
        assert first.post(f"/modules/{module}/migrate").json()["status"] == "success"
    with ThreadPoolExecutor(2) as pool:
        blocked_calls = [pool.submit(first.post, f"/modules/{module}/revert", json={}) for module in ("a1", "a2")]
        eventually(lambda: sql(SLEEPING))
        put(first, "a3", "SELECT pg_sleep(600)")
        assert first.post("/modules/a3/migrate", headers=ASYNC).status_code == 202
        migrates(second, "b")
        assert len(sql(SLEEPING)) == 1
        while not all(one.done() for one in blocked_calls):
            sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            wait(blocked_calls, 0.2)


def test_a_module_that_locks_its_history(
    clients: tuple[httpx2.Client, httpx2.Client], sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    first, second = clients
    migrates(first, "a")
    put(first, "a2", "LOCK TABLE a.schema_migrations, a.pgdbm_snapshots; SELECT pg_sleep(600)", schema="a")
    assert first.post("/modules/a2/migrate", headers=ASYNC).status_code == 202
    eventually(lambda: sql(SLEEPING))
    migrates(second, "b")
    states = {one["name"]: one for one in second.get("/modules").json()["items"]}
    assert states["a"]["problem"]["code"] == "lock_timeout"
    assert second.get("/overview").status_code == 200
    assert second.get("/schemas").status_code == 200


def test_a_history_without_end(clients: tuple[httpx2.Client, httpx2.Client]) -> None:
    first, second = clients
    put(
        first,
        "a",
        "INSERT INTO {{schema}}.schema_migrations (filename, checksum, module_name) "
        "SELECT md5(n::text) || '.sql', md5(n::text), CASE WHEN n % 2 = 0 THEN 'a' ELSE md5(n::text) END "
        "FROM generate_series(1, 400000) n",
    )
    assert first.post("/modules/a/migrate").json()["status"] == "success"
    migrates(second, "b")
    listed = second.get("/modules").json()["items"]
    assert {one["name"]: one["state"] for one in listed} == {"a": "invalid", "b": "up_to_date"}
