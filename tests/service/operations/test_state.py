"""The state of a module over HTTP: drift, journal, ready."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def test_drift_is_reported(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    never = service.get("/modules/m/drift").json()
    assert (never["clean"], never["since"], never["changes"]) == (False, None, [])
    assert never["reason"]
    service.post("/modules/m/migrate")
    clean = service.get("/modules/m/drift").json()
    assert UTC.fullmatch(clean.pop("since"))
    assert clean == {"clean": True, "module": "m", "reason": None, "changes": []}
    sql("ALTER TABLE m.t ADD COLUMN surprise text")
    drift = service.get("/modules/m/drift").json()
    assert drift["clean"] is False
    (change,) = [one for one in drift["changes"] if one["kind"] == "added"]
    assert change.keys() == {"kind", "object_kind", "name", "before", "after"}
    assert (change["object_kind"], change["before"]) == ("column", None)
    assert "surprise" in change["name"]
    assert change["after"]


def test_the_journal_is_paged(service: Any, repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1 / 0")
    service.sync()
    assert service.get("/modules/m/journal").json() == {"items": [], "next": None}
    service.post("/modules/m/migrate")
    service.post("/modules/m/mark", json={"filename": "001_a.sql", "applied": True})
    newest, oldest = service.get("/modules/m/journal").json()["items"]
    assert (newest["filename"], newest["event"], newest["statement"]) == ("001_a.sql", "marked", None)
    assert (oldest["event"], oldest["sqlstate"], oldest["attempt"]) == ("failed", "22012", 1)
    assert newest["id"] > oldest["id"]
    assert UTC.fullmatch(newest["started_at"])
    assert UTC.fullmatch(newest["ended_at"])
    assert service.get("/modules/m/journal?limit=1").json()["items"] == [newest]
    for limit in (0, 1001, "x"):
        assert_problem(service.get(f"/modules/m/journal?limit={limit}"), 400, "invalid_request")


def test_readiness_of_a_module_depends_on_what_is_applied(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1", _003_c="SELECT 1")
    service.sync()
    response = service.get("/modules/m/ready")
    problem = assert_problem(response, 503, "not_migrated")
    assert (problem["module"], problem["missing"]) == ("m", ["001_a.sql", "002_b.sql", "003_c.sql"])
    assert int(response.headers["retry-after"]) == problem["retry_after"] > 0

    service.post("/modules/m/migrate", json={"target": "002"})
    for require in ("002", "2", "002_b.sql", "001"):
        ready = service.get("/modules/m/ready", params={"require": require})
        assert ready.status_code == 200, ready.text
        assert ready.json() == {"module": "m", "schema": "m", "state": "ready", "version": "002"}
    for require in ("003", "3", "003_c.sql", None):
        refused = service.get("/modules/m/ready", params={"require": require} if require else {})
        assert assert_problem(refused, 503, "not_migrated")["missing"] == ["003_c.sql"]
    newer = assert_problem(service.get("/modules/m/ready?require=004"), 503, "not_migrated")
    assert newer["missing"] == ["004"]
    assert_problem(service.get("/modules/m/ready?require="), 400, "invalid_request")

    service.post("/modules/m/migrate")
    assert service.get("/modules/m/ready").json()["version"] == "003"
    # What it created exists, whatever the file contains now; and an older service does not know the newest file.
    repo.write("m", _002_b="SELECT 2")
    (repo.path / "m" / "003_c.sql").unlink()
    assert service.get("/modules/m/ready").status_code == 200
    assert service.get("/modules/m/ready?require=003").status_code == 200


def test_readiness_counts_out_of_order_migrations(service: Any, repo: Any) -> None:
    repo.write("m", _002_b="SELECT 1")
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _001_a="SELECT 1")
    problem = assert_problem(service.get("/modules/m/ready?require=002"), 503, "not_migrated")
    assert problem["missing"] == ["001_a.sql"]
    assert_problem(service.get("/modules/m/plan"), 409, "out_of_order")
