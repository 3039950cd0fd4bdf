"""Runs of all modules: followed, joined by key, failed, retried, cancelled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.support.problems import assert_problem

from ..event_streams import read

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
SLEEPING = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
ASYNC = {"Prefer": "respond-async"}


def states(run: dict[str, Any]) -> dict[str, str]:
    return {child["module"]: child["status"] for child in run["modules"]}


def test_a_run_of_all_modules_is_followed(start: Callable[..., Any], repo: Any) -> None:
    repo.write("a", 'depends_on = ["b"]', _001_a="CREATE TABLE {{tables.t}} AS TABLE {{tables.b.t}}")
    repo.write("b", _001_a=TABLE, _002_b="SELECT pg_sleep(0.2)")
    repo.write("done", _001_a=TABLE)
    services = [start(), start()]
    services[0].post("/modules/done/migrate")
    asking = ASYNC | {"Idempotency-Key": "deploy-7", "X-Request-ID": "deploy"}
    response = services[0].post("/migrate", headers=asking)
    assert response.status_code == 202, response.text
    address, shown = response.headers["location"], response.json()
    assert address == f"/runs/{shown['id']}"
    assert (shown["module"], shown["bundle"], shown["schemas"], shown["request_id"]) == ("*", None, [], "deploy")
    assert list(states(shown)) == ["b", "a", "done"]
    assert services[1].post("/migrate", headers=asking).headers["location"] == address

    with services[1].client.stream("GET", f"{address}/events") as stream:
        events = list(read(stream))
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    reported = [(event.kind, event.data.get("module")) for event in events]
    assert reported == [
        ("run_queued", "*"),
        ("module_started", "b"),
        ("module_ended", "b"),
        ("module_started", "a"),
        ("module_ended", "a"),
        ("module_ended", "done"),
        ("run_ended", None),
    ]
    run = services[1].get(address).json()
    assert (run["status"], run["attempts"]) == ("succeeded", 1)
    assert [child["result"]["status"] for child in run["modules"]] == ["success", "success", "up_to_date"]
    children = {child["module"]: child["run_id"] for child in run["modules"]}
    assert children["done"] is None
    history = services[0].get("/modules/b/history").json()["items"]
    assert {one["run_id"] for one in history} == {children["b"]}
    assert services[0].get(f"/runs/{children['b']}").json()["request_id"] == "deploy"

    again = services[0].post("/migrate", headers={"Idempotency-Key": "deploy-7"}).json()
    assert (again["run_id"], again["status"], again["not_reached"]) == (run["id"], "success", [])
    assert [item["module"] for item in again["items"]] == ["b", "a", "done"]
    nothing = services[0].post("/migrate", headers=ASYNC)
    assert (nothing.status_code, nothing.json()["status"], nothing.json()["run_id"]) == (200, "up_to_date", None)
    assert [one["id"] for one in services[0].get("/runs?module=*").json()["items"]] == [run["id"]]
    assert_problem(services[0].post(f"{address}/retry"), 409, "run_not_retryable")
    key = {"Idempotency-Key": "deploy-7"}
    assert_problem(services[0].post("/modules/a/migrate", headers=key), 422, "idempotency_key_reused")


def test_a_failed_run_of_all_modules_is_retried(service: Any, repo: Any) -> None:
    repo.write("a", _001_a=TABLE)
    repo.write("b", _001_a="SELECT 1 / 0")
    repo.write("c", _001_a=TABLE)
    service.sync()
    problem = assert_problem(service.post("/migrate"), 422, "migration_failed")
    run = service.get(f"/runs/{problem['run_id']}").json()
    assert (run["status"], states(run)) == ("failed", {"a": "succeeded", "b": "failed", "c": "not_reached"})
    assert (run["problem"]["module"], run["problem"]["not_reached"]) == ("b", ["c"])

    # The module is refused before it gets a run.
    repo.write("b", _001_a="SELEKT")
    problem = assert_problem(service.post("/migrate", json={"dry_run": True}), 422, "migration_file_invalid")
    assert (problem["module"], problem["not_reached"]) == ("b", ["c"])
    repo.write("b", _001_a="SELECT 1")
    retried = service.post(f"/runs/{run['id']}/retry").json()
    assert [(item["module"], item["status"]) for item in retried["items"]] == [("b", "success"), ("c", "success")]
    assert service.get(f"/runs/{retried['run_id']}").json()["retry_of"] == run["id"]

    repo.write("a", _001_a="SELECT 'changed'")
    repo.write("c", _002_b="SELECT 2")
    problem = assert_problem(service.post("/migrate"), 409, "checksum_changed")
    assert (problem["module"], problem["items"], problem["not_reached"]) == ("a", [], ["b", "c"])


def test_a_run_of_all_modules_is_cancelled(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("a", _001_a=TABLE)
    repo.write("b", _001_a="SELECT pg_sleep(60)")
    repo.write("c", _001_a=TABLE)
    # With so few connections, runs that waited for their children would keep the children from being processed.
    service = start(max_connections=3)

    def at_b() -> dict[str, Any] | None:
        runs = [service.get(f"/runs/{one['id']}").json() for one in service.get("/runs?module=*").json()["items"]]
        return next((run for run in runs if states(run)["b"] == "running"), None)

    def ended(run: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = eventually(
            lambda: (shown := service.get(f"/runs/{run['id']}").json())["ended_at"] and shown
        )
        assert (shown["status"], shown["problem"]["code"]) == ("cancelled", "run_cancelled")
        return shown

    others = [service.post("/migrate", json={"wait_s": 0}).json() for _ in range(3)]
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(service.post, "/migrate")
        eventually(lambda: sql(SLEEPING))
        run = eventually(at_b)
        answer = service.post(f"/runs/{run['id']}/cancel")
        assert (answer.status_code, answer.json()["id"]) == (200, run["id"])
        assert states(ended(run)) == {"a": "succeeded", "b": "cancelled", "c": "not_reached"}
        assert_problem(service.post(f"/runs/{run['id']}/cancel"), 409, "run_ended")
        for one in service.get("/runs?module=*").json()["items"]:
            # It may have ended already, together with the run of b that they all waited for.
            assert service.post(f"/runs/{one['id']}/cancel").status_code in (200, 409)
        problem = assert_problem(call.result(), 409, "run_cancelled")
    assert problem["not_reached"][-1] == "c"
    for one in others:
        assert states(ended(one))["c"] == "not_reached"
    assert eventually(lambda: not sql(SLEEPING))
    assert service.get("/modules/c").json()["applied"] == 0
