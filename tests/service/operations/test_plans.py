"""What would be applied over HTTP, a migration that requires a plan, and limits of what a plan may contain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm_service.settings import ModulePolicy
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
NO_TRANSACTION = "-- pgdbm:no-transaction\n"
CHECK = "ALTER TABLE {{tables.t}} ADD CHECK (id > 0)"


def test_a_plan_lists_what_would_run(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1;\n\n  DROP TABLE {{tables.t}}")
    service.sync()
    service.post("/modules/m/migrate", json={"target": "1"})
    response = service.get("/modules/m/plan")
    assert response.status_code == 200, response.text
    plan = response.json()
    (pending,) = plan.pop("pending")
    assert re.fullmatch("sha256:[0-9a-f]{64}", plan.pop("digest"))
    assert plan == {"module": "m", "schema": "m", "skipped": 1}
    select, drop = pending.pop("statements")
    (size,) = sql("SELECT pg_total_relation_size('m.t') AS bytes")[0].values()
    assert pending.pop("impact") == "locks m.t (no rows) while reads and writes wait"
    assert select | {"kind": ""} == {
        "number": 1,
        "kind": "",
        "line": 1,
        "column": 1,
        "sql": "SELECT 1",
        "locks": [],
        "blocks": "nothing",
    }
    use = ("reads_per_s", "writes_per_s", "statistics_since", "longest_transaction_s")
    of_table, of_others = ([lock.pop(name) for name in use] for lock in drop["locks"])
    assert (of_table[2] is not None, of_table[3], of_others) == (True, None, [None] * 4)
    assert drop == {
        "number": 2,
        "kind": "DROP TABLE",
        "line": 3,
        "column": 3,
        "sql": 'DROP TABLE "m".t',
        # A lock without a name: the tables that foreign keys of the dropped table refer to.
        "locks": [
            {"mode": "ACCESS EXCLUSIVE", "relation": "m.t", "rows": 0, "size_bytes": size},
            {"mode": "ACCESS EXCLUSIVE", "relation": None, "rows": None, "size_bytes": None},
        ],
        "blocks": "reads and writes",
    }
    found = [one for one in pending.pop("findings") if one["source"] == "pgdbm" and one["statement"] == 2]
    assert found
    for finding in found:
        assert finding.keys() == {
            *("rule", "severity", "message", "advice", "statement"),
            *("line", "column", "source", "fix"),
        }
        assert finding["line"] == 3
    assert len(pending.pop("checksum")) == 64
    assert pending == {"filename": "002_b.sql", "version": "002", "transactional": True, "fix": None}
    assert len(sql("SELECT FROM m.schema_migrations")) == 1


def test_a_plan_of_an_invalid_file_is_refused(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELEKT")
    service.sync()
    problem = assert_problem(service.get("/modules/m/plan"), 422, "migration_file_invalid")
    assert (problem["module"], problem["filename"], problem["line"]) == ("m", "002_b.sql", 1)
    assert service.get("/modules/m/plan?target=001").json()["pending"][0]["filename"] == "001_a.sql"
    assert_problem(service.get("/modules/m/plan?target=007"), 422, "migration_error")
    assert_problem(service.get("/modules/m/plan?target="), 400, "invalid_request")


def test_a_migration_can_require_a_plan(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1")
    service.sync()
    planned = service.get("/modules/m/plan").json()["digest"]
    of_first = service.get("/modules/m/plan?target=001").json()["digest"]
    assert planned != of_first
    repo.write("m", _002_b="SELECT 2")
    problem = assert_problem(service.post("/modules/m/migrate", json={"plan": planned}), 409, "plan_moved")
    now = service.get("/modules/m/plan").json()["digest"]
    assert (problem["module"], problem["plan"], problem["current_plan"]) == ("m", planned, now)
    assert_problem(service.post("/modules/m/migrate", json={"plan": planned, "dry_run": True}), 409, "plan_moved")
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'm'") == []

    first = service.post("/modules/m/migrate", json={"plan": of_first, "target": "001"}).json()
    assert [one["filename"] for one in first["applied"]] == ["001_a.sql"]
    assert_problem(service.post("/modules/m/migrate", json={"plan": now}), 409, "plan_moved")
    rest = service.get("/modules/m/plan").json()["digest"]
    assert service.post("/modules/m/migrate", json={"plan": rest}).json()["status"] == "success"
    recorded = {row["filename"]: row["checksum"] for row in sql("SELECT filename, checksum FROM m.schema_migrations")}
    files = service.get("/modules/m/migrations").json()["items"]
    assert recorded == {one["filename"]: one["checksum"] for one in files}
    done = service.get("/modules/m/plan").json()
    assert (done["pending"], done["skipped"]) == ([], 2)


def test_a_malformed_plan_digest_is_refused(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    for body in ({"plan": "sha256:abc"}, {"plan": ""}, {"target": ""}, {"atomic": "none"}):
        problem = assert_problem(service.post("/modules/m/migrate", json=body), 400, "invalid_request")
        assert len(problem["errors"]) == 1
    assert_problem(service.post("/migrate", json={"target": "001"}), 400, "invalid_request")


def test_atomic_all_applies_every_file_or_none(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1 / 0")
    service.sync()
    assert_problem(service.post("/modules/m/migrate", json={"atomic": "all"}), 422, "migration_failed")
    assert sql("SELECT to_regclass('m.t') AS t")[0]["t"] is None
    repo.write("m", _002_b=f"{NO_TRANSACTION}VACUUM {{{{tables.t}}}}")
    problem = assert_problem(service.post("/modules/m/migrate", json={"atomic": "all"}), 422, "migration_error")
    assert "002_b.sql" in problem["detail"]
    repo.write("m", _002_b="SELECT 1")
    assert service.post("/modules/m/migrate", json={"atomic": "all"}).json()["status"] == "success"


@pytest.mark.parametrize("of_operator", [False, True])
def test_a_plan_beyond_the_limits_is_refused(start: Any, repo: Any, sql: Callable[..., Any], of_operator: bool) -> None:
    repo.write("m", None if of_operator else 'max_blocked = "writes"', _001_a=TABLE, _002_b=CHECK)
    policies = {"m*": ModulePolicy(max_blocked="writes")} if of_operator else {}
    service = start(module_policies=policies)
    assert service.post("/modules/m/migrate", json={"target": "001"}).status_code == 200
    sql("INSERT INTO m.t (id) VALUES (1)")
    problem = assert_problem(service.post("/modules/m/migrate"), 409, "plan_refused")
    assert (problem["module"], problem["filename"], problem["statement"], problem["line"]) == ("m", "002_b.sql", 1, 1)
    assert problem["limit"] == "max_blocked"
    assert "pgdbm migrate fix" in problem["hint"]
    refusal = service.get("/modules/m/plan").json()["refusal"]
    assert (refusal["limit"], refusal["detail"]) == ("max_blocked", problem["detail"])
    assert sql("SELECT count(*) AS n FROM m.schema_migrations")[0]["n"] == 1


def test_a_limit_that_is_no_limit_makes_the_module_invalid(service: Any, repo: Any) -> None:
    repo.write("m", 'max_rewrite = "much"', _001_a=TABLE)
    service.sync()
    problem = service.get("/modules/m").json()["problem"]
    assert (problem["key"], problem["line"]) == ("max_rewrite", 1)
