"""GET /overview, /replicas and /events."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Self

from tests.support.waiting import eventually

from ..blocked_runs import blocked_run
from ..running_service import http_stream

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
ASYNC = {"Prefer": "respond-async"}


def overview(service: Any) -> dict[str, Any]:
    answer = service.get("/overview")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_modules_come_with_their_state_and_their_newest_runs(service: Any, repo: Any) -> None:
    repo.write("good", _001_a=TABLE)
    repo.write("waiting", _001_a=TABLE)
    service.sync()
    run = service.post("/modules/good/migrate").json()["run_id"]
    found = overview(service)
    good, waiting = found["modules"]
    assert (good["name"], good["state"], good["applied"], good["states"]) == (
        "good",
        "up_to_date",
        1,
        {"up_to_date": 1},
    )
    (newest,) = good["runs"]
    assert (newest["id"], newest["status"], newest["created_by"]) == (run, "succeeded", "anonymous")
    assert newest["duration_ms"] >= 0
    assert (waiting["state"], waiting["pending"], waiting["runs"]) == ("pending", 1, [])
    # A module that was never migrated needs no attention.
    assert found["attention"] == []
    assert found["replica_count"] == 1
    assert found["server_version"]
    assert found["pool"]["max"] > 0


def test_a_failed_module_needs_attention_with_its_run_and_its_error(service: Any, repo: Any) -> None:
    repo.write("bad", _001_a="SELECT 1;\nSELECT nothing_there;")
    service.sync()
    assert service.post("/modules/bad/migrate").status_code == 422
    (item,) = overview(service)["attention"]
    assert (item["kind"], item["module"]) == ("failed", "bad")
    assert "001_a.sql:2:8" in item["detail"]
    assert service.get(f"/runs/{item['run_id']}").json()["status"] == "failed"
    assert item["since"].endswith("Z")
    assert overview(service)["modules"][0]["runs"][0]["problem_code"] == "migration_failed"


def test_a_changed_file_needs_attention(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _001_a=TABLE + " -- changed")
    service.sync()
    (item,) = overview(service)["attention"]
    assert (item["kind"], item["module"]) == ("changed", "m")
    assert item["detail"] == "has 1 file that was changed after it was applied"


def test_an_active_run_shows_where_it_is_and_who_blocks_it(service: Any, repo: Any, database: str) -> None:
    with blocked_run(service, repo, database) as (_, pid):

        def blocked() -> dict[str, Any] | None:
            return next((item for item in overview(service)["attention"] if item["kind"] == "blocked"), None)

        item = eventually(blocked)
        assert item["module"] == "m"
        assert f"reporting (pid {pid})" in item["detail"]
        (run,) = overview(service)["running"]
        assert run["id"] == item["run_id"]
        assert (run["schema"], run["schema_count"], run["ended_schema_count"]) == ("m", 1, 0)
        assert run["progress"]["waiting_for"][0]["application_name"] == "reporting"
    eventually(lambda: not overview(service)["running"])
    assert overview(service)["attention"] == []


def test_replicas_report_what_they_are_migrating(service: Any, repo: Any) -> None:
    (replica,) = service.get("/replicas").json()["items"]
    assert replica["running"] == 0
    assert replica["started_at"] <= replica["seen_at"]
    repo.write("slow", _001_a="SELECT pg_sleep(1)")
    service.sync()
    service.post("/modules/slow/migrate", headers=ASYNC)
    eventually(lambda: service.get("/replicas").json()["items"][0]["running"] == 1)
    eventually(lambda: service.get("/replicas").json()["items"][0]["running"] == 0)


def test_a_replica_that_stopped_without_a_shutdown_is_lost(service: Any, sql: Callable[..., list[Any]]) -> None:
    for name, seen in (("died", "2 minutes"), ("long_ago", "2 hours")):
        sql(
            "INSERT INTO pgdbm_service.replicas (id, host, pid, version, started_at, seen_at) "
            f"VALUES (gen_random_uuid(), '{name}', 1, '0', now() - interval '1 day', now() - interval '{seen}')"
        )
    # Replicas of other tests on this database may be lost, too.
    ours = {"died", "long_ago"}
    replicas = service.get("/replicas").json()
    assert {one["host"] for one in replicas["lost_replicas"]} & ours == {"died"}
    assert not {one["host"] for one in replicas["items"]} & ours
    assert {one["host"] for one in overview(service)["lost_replicas"]} & ours == {"died"}


class Follower:
    """Reads GET /events in a thread."""

    def __init__(self, service: Any, last_event_id: str | None = None) -> None:
        self.runs: list[dict[str, Any]] = []
        self.last_id: str | None = None
        self._headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        self._url = f"{service.url}/events"
        self._connected = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._connected.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _read(self) -> None:
        with http_stream("GET", self._url, headers=self._headers, timeout=30) as response:
            self._connected.set()
            for line in response.iter_lines():
                if self._stop.is_set():
                    return
                if line.startswith("id: "):
                    self.last_id = line[4:]
                if line.startswith("data: "):
                    self.runs.append(json.loads(line[6:])["run"])

    def statuses(self, module: str) -> list[str]:
        return [run["status"] for run in self.runs if run["module"] == module]


def test_every_run_is_followed_from_one_stream(service: Any, repo: Any) -> None:
    for name in "abc":
        repo.write(name, _001_a=TABLE)
    service.sync()
    with Follower(service) as follower:
        for name in "abc":
            service.post(f"/modules/{name}/migrate")
        eventually(lambda: all(follower.statuses(name)[-1:] == ["succeeded"] for name in "abc"))
    assert len({run["id"] for run in follower.runs}) == 3


def test_a_stream_continues_after_the_last_event(service: Any, repo: Any) -> None:
    repo.write("a", _001_a=TABLE)
    repo.write("b", _001_a=TABLE)
    service.sync()
    with Follower(service) as first:
        service.post("/modules/a/migrate")
        eventually(lambda: first.statuses("a")[-1:] == ["succeeded"])
    service.post("/modules/b/migrate")
    with Follower(service, first.last_id) as second:
        eventually(lambda: second.statuses("b")[-1:] == ["succeeded"])


def test_many_streams_take_no_connections_of_the_database(
    start: Callable[..., Any], repo: Any, sql: Callable[..., list[Any]]
) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(max_connections=4)
    ours = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ 'pgdbm'"
    followers = [Follower(service) for _ in range(40)]
    for follower in followers:
        follower.__enter__()
    service.post("/modules/m/migrate")
    eventually(lambda: all(follower.statuses("m")[-1:] == ["succeeded"] for follower in followers))
    # The pool, and the connection that listens.
    assert len(sql(ours)) <= 5
    for follower in followers:
        follower.__exit__()
