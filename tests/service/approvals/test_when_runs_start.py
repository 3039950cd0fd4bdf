"""When runs start: not before their time, in the windows of their module, and while nothing freezes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pgdbm_service.api.common import Windows
from pgdbm_service.settings import ModulePolicy

if TYPE_CHECKING:
    from collections.abc import Callable

ASYNC = {"Prefer": "respond-async"}
TABLE = "CREATE TABLE {{tables.t}} (id integer)"


def closed_windows() -> str:
    """The settings of a module that is outside its windows now, and for hours to come."""
    day = (datetime.now(UTC) + timedelta(days=3)).strftime("%a")
    return f'windows = {{open = ["{day} 01:00-02:00"]}}'


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def freeze(service: Any, **body: Any) -> Any:
    answer = service.client.put("/freeze", json={"reason": "end of the quarter"} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def lift(service: Any, **query: str) -> Any:
    answer = service.client.delete("/freeze", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def migrate(service: Any, module: str = "orders", **body: Any) -> Any:
    """The run, which has not ended."""
    answer = service.post(f"/modules/{module}/migrate", json=body, headers=ASYNC)
    assert answer.status_code == 202, answer.text
    return answer.json()


def status_is(service: Any, run: Any, *statuses: str) -> Callable[[], Any]:
    def read() -> Any:
        found = service.get(f"/runs/{run['id']}").json()
        return found["status"] in statuses and found

    return read


def kinds(service: Any, run: Any) -> list[str]:
    with service.client.stream("GET", f"/runs/{run['id']}/events") as stream:
        return [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event: ")]


def test_not_before(service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]) -> None:
    repo.write("orders", _001_a=TABLE)
    service.sync()
    at = soon(2)
    run = migrate(service, not_before=at)
    held = eventually(status_is(service, run, "held"))
    assert held["start_hold"]["reason"] == "not_before"
    assert datetime.fromisoformat(held["start_hold"]["until"]) == datetime.fromisoformat(at)
    assert service.get("/modules/orders").json()["active_run_status"] == "held"
    # The same request joins it; one without the time is another.
    assert migrate(service, not_before=at)["id"] == run["id"]
    ended = eventually(status_is(service, run, "succeeded"))
    assert ended["start_hold"] is None
    assert datetime.fromisoformat(ended["started_at"]) >= datetime.fromisoformat(at)
    assert kinds(service, run)[:4] == ["run_queued", "held", "released", "schema_started"]
    assert sql("SELECT to_regclass('orders.t')")[0][0] is not None


def test_a_time_without_a_zone_is_refused(service: Any, repo: Any) -> None:
    repo.write("orders", _001_a=TABLE)
    service.sync()
    answer = service.post("/modules/orders/migrate", json={"not_before": "2030-01-01T00:00:00"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_windows(service: Any, repo: Any, eventually: Callable[..., Any]) -> None:
    repo.write("orders", closed_windows(), _001_a=TABLE)
    service.sync()
    run = migrate(service)
    hold = eventually(status_is(service, run, "held"))["start_hold"]
    assert hold["reason"] == "window"
    assert datetime.fromisoformat(hold["until"]).strftime("%H:%M") == "01:00"
    detail = service.get("/modules/orders").json()
    assert detail["start_hold"] == hold
    assert detail["windows"]["time_zone"] == "UTC"
    refused = service.post("/modules/orders/migrate", json={"if_closed": "refuse"})
    assert (refused.status_code, refused.json()["code"]) == (409, "closed")
    assert (refused.json()["reason"], refused.json()["until"]) == ("window", hold["until"])
    # An empty request is answered as before, and so is a dry run.
    assert service.post("/modules/orders/migrate", json={"dry_run": True}).json()["pending"] == ["001_a.sql"]
    assert service.post(f"/runs/{run['id']}/cancel").json()["status"] == "cancelled"


def test_windows_of_the_operator_hold_besides_those_of_the_module(
    start: Callable[..., Any], repo: Any, eventually: Callable[..., Any]
) -> None:
    repo.write("orders", 'windows = {open = ["00:00-24:00"]}', _001_a=TABLE)
    repo.write("billing", _001_a=TABLE)
    day = (datetime.now(UTC) + timedelta(days=3)).strftime("%a")
    policy = ModulePolicy(windows=Windows(open=(f"{day} 01:00-02:00",)))
    service = start(module_policies={"orders": policy, "*": ModulePolicy()})
    eventually(status_is(service, migrate(service), "held"))
    eventually(status_is(service, migrate(service, "billing"), "succeeded"))


def test_windows_of_a_registered_module(service: Any, eventually: Callable[..., Any]) -> None:
    day = (datetime.now(UTC) + timedelta(days=3)).strftime("%a")
    body = {"migrations": [{"filename": "001_a.sql", "content": TABLE}]}
    windows = {"open": [f"{day} 01:00-02:00"], "time_zone": "Europe/Berlin"}
    answer = service.client.put("/modules/orders", json=body | {"windows": windows})
    assert (answer.status_code, answer.json()["windows"]) == (201, windows)
    run = migrate(service)
    eventually(status_is(service, run, "held"))
    wrong = service.client.put("/modules/billing", json=body | {"windows": {"open": ["sometimes"]}})
    assert (wrong.status_code, wrong.json()["key"]) == (422, "windows")
    by_parameter = service.client.put("/modules/billing?windows={", json=body)
    assert (by_parameter.status_code, by_parameter.json()["code"]) == (400, "invalid_request")
    assert service.post(f"/runs/{run['id']}/cancel").status_code == 200


def test_a_freeze_holds_runs_and_lifting_it_starts_them(
    service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    for module in ("orders", "order_items", "orders_archive", "billing"):
        repo.write(module, _001_a=TABLE)
    service.sync()
    made = freeze(service, modules="orders*")
    assert (made["modules"], made["until"], made["frozen_by"]) == ("orders*", None, "anonymous")
    freeze(service, modules="order_?tems", until=soon(3600))
    assert [one["modules"] for one in service.get("/freeze").json()["items"]] == ["order_?tems", "orders*"]
    held = [migrate(service, module) for module in ("orders", "orders_archive", "order_items")]
    for run in held:
        assert eventually(status_is(service, run, "held"))["start_hold"]["reason"] == "freeze"
    # What is not frozen is migrated; "_" in a glob is not a wildcard.
    eventually(status_is(service, migrate(service, "billing"), "succeeded"))
    hold = service.get("/modules/orders").json()["start_hold"]
    assert "end of the quarter" in hold["detail"]
    assert service.get("/modules/billing").json()["start_hold"] is None
    refused = service.post("/modules/orders/migrate", json={"if_closed": "refuse"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "freeze")

    assert [one["modules"] for one in lift(service, modules="orders*", reason="done early")] == ["orders*"]
    eventually(status_is(service, held[0], "succeeded"))
    eventually(status_is(service, held[1], "succeeded"))
    assert status_is(service, held[2], "held")()
    assert [one["modules"] for one in lift(service)] == ["order_?tems"]
    eventually(status_is(service, held[2], "succeeded"))
    assert lift(service) == []
    entries = eventually(
        lambda: (
            len(found := [one for one in service.get("/audit?limit=100").json()["items"] if one["path"] == "/freeze"])
            == 5
            and found
        )
    )
    assert [(one["method"], one["module"], one["reason"]) for one in reversed(entries)] == [
        ("PUT", "orders*", "end of the quarter"),
        ("PUT", "order_?tems", "end of the quarter"),
        ("DELETE", "orders*", "done early"),
        ("DELETE", None, None),
        ("DELETE", None, None),
    ]


def test_a_freeze_ends_by_itself(service: Any, repo: Any, eventually: Callable[..., Any]) -> None:
    repo.write("orders", _001_a=TABLE)
    service.sync()
    freeze(service, until=soon(2))
    run = migrate(service)
    eventually(status_is(service, run, "held"))
    eventually(status_is(service, run, "succeeded"))
    assert service.get("/freeze").json()["items"] == []
    past = service.client.put("/freeze", json={"reason": "x", "until": soon(-1)})
    assert (past.status_code, past.json()["code"]) == (400, "invalid_request")


def test_a_freeze_that_is_changed(service: Any, repo: Any, eventually: Callable[..., Any]) -> None:
    repo.write("orders", _001_a=TABLE)
    service.sync()
    freeze(service)
    run = migrate(service)
    eventually(status_is(service, run, "held"))
    assert freeze(service, until=soon(0.5), reason="shorter")["reason"] == "shorter"
    eventually(status_is(service, run, "succeeded"))


def test_every_module(service: Any, repo: Any, eventually: Callable[..., Any]) -> None:
    """POST /migrate waits at the module that is frozen, or is refused."""
    repo.write("a", _001_a=TABLE)
    repo.write("b", 'depends_on = ["a"]', _001_a=TABLE)
    service.sync()
    freeze(service, modules="b")
    answer = service.post("/migrate", headers=ASYNC)
    parent = answer.json()
    child = eventually(
        lambda: next(
            (
                one["run_id"]
                for one in service.get(f"/runs/{parent['id']}").json()["modules"]
                if one["module"] == "b" and one["run_id"]
            ),
            None,
        )
    )
    eventually(status_is(service, {"id": child}, "held"))
    lift(service)
    eventually(status_is(service, parent, "succeeded"))


def test_every_module_is_refused(service: Any, repo: Any) -> None:
    repo.write("a", _001_a=TABLE)
    service.sync()
    freeze(service)
    refused = service.post("/migrate", json={"if_closed": "refuse"})
    assert (refused.status_code, refused.json()["code"]) == (409, "closed"), refused.text
    assert service.get("/modules/a").json()["pending"] == 1


def test_every_module_not_before(service: Any, repo: Any, eventually: Callable[..., Any]) -> None:
    repo.write("a", _001_a=TABLE)
    service.sync()
    at = soon(2)
    parent = service.post("/migrate", json={"not_before": at}, headers=ASYNC).json()
    ended = eventually(status_is(service, parent, "succeeded"))
    child = service.get(f"/runs/{ended['modules'][0]['run_id']}").json()
    assert datetime.fromisoformat(child["started_at"]) >= datetime.fromisoformat(at)


def test_another_replica_takes_a_run_that_is_held(
    start: Callable[..., Any], repo: Any, eventually: Callable[..., Any]
) -> None:
    """The wait survives the end of every process, and a freeze is lifted through any."""
    repo.write("orders", _001_a=TABLE)
    first = start()
    freeze(first)
    run = migrate(first)
    eventually(status_is(first, run, "held"))
    later = migrate(first, not_before=soon(3))
    second = start()
    lift(second)
    eventually(status_is(second, run, "succeeded"))
    eventually(status_is(second, later, "succeeded"))


def test_a_run_that_has_started_continues(
    service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("orders", 'schemas = ["a", "b"]', _001_a=TABLE, _002_b="SELECT pg_sleep(1)")
    service.sync()
    run = migrate(service)
    eventually(status_is(service, run, "running"))
    freeze(service)
    assert eventually(status_is(service, run, "succeeded"))["schema_counts"]["succeeded"] == 2


def test_who_may_freeze(start: Callable[..., Any], make_token: Callable[..., str], repo: Any) -> None:
    service = start(auth="tokens")
    reader = {"Authorization": f"Bearer {make_token('read', 'migrate:*', 'register:*')}"}
    assert service.client.put("/freeze", json={"reason": "x"}, headers=reader).status_code == 403
    assert service.client.delete("/freeze", headers=reader).status_code == 403
    assert service.get("/freeze", headers=reader).json() == {"items": [], "next": None}
