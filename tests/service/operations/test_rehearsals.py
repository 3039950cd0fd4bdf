"""Rehearsals over HTTP: the locks and times of the plan, and the proof of its fixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def test_a_rehearsal_proves_the_fixes_of_the_plan(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    check = "ALTER TABLE {{tables.t}} ADD CHECK (id > 0)"
    repo.write("m", _001_a=TABLE, _002_b=check, _003_c="SELECT 1")
    service.sync()
    service.post("/modules/m/migrate", json={"target": "001"})
    sql("INSERT INTO m.t (id) VALUES (1)")
    planned, without = service.get("/modules/m/plan").json()["pending"]
    files = [
        {"filename": "002_b.sql", "sql": f"{check.replace('ADD', 'ADD CONSTRAINT t_id_check')} NOT VALID;\n"},
        {"filename": "002.1_b.sql", "sql": "ALTER TABLE {{tables.t}} VALIDATE CONSTRAINT t_id_check;\n"},
    ]
    assert planned["fix"] == {"files": files, "note": None}
    assert [one["fix"] for one in planned["findings"] if one["rule"] == "PGDBM008"] == [planned["fix"]]
    assert without["fix"] is None
    assert "fixes" not in service.post("/modules/m/rehearse").json()
    rehearsed = service.post("/modules/m/rehearse", json={"fix": True}).json()
    names = [file["filename"] for file in files]
    proof = {"filename": "002_b.sql", "files": names, "proved": True, "differences": [], "reason": None}
    assert rehearsed["fixes"] == [proof]
    assert rehearsed["succeeded"] is True
    assert sql("SELECT FROM pg_namespace WHERE nspname LIKE 'pgdbm_rehearsal%'") == []


def test_a_file_that_ends_its_own_session_fails_its_rehearsal(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1;\nSELECT pg_terminate_backend(pg_backend_pid())")
    service.sync()
    for _ in range(2):
        found = service.post("/modules/m/rehearse").json()
        assert (found["succeeded"], found["stopped"], found["left_behind"]) == (False, None, None)
        failure = found["failure"]
        where = [failure[name] for name in ("filename", "statement", "line", "column", "sqlstate")]
        assert where == ["002_b.sql", 2, 2, 1, "57P01"]
        assert "pg_terminate_backend" in failure["hint"]


def test_a_rehearsal_reports_locks_and_times(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="ALTER TABLE {{tables.t}} ADD b text;\n\n  SELECT 1 / 0", _003_c="SELECT 1")
    service.sync()
    service.post("/modules/m/migrate", json={"target": "001"})
    failed = service.post("/modules/m/rehearse").json()
    (migration,) = failed.pop("migrations")
    (statement,) = migration.pop("statements")
    assert migration.pop("execution_time_ms") >= 0
    assert statement.pop("execution_time_ms") > 0
    assert migration == {"filename": "002_b.sql", "transactional": True, "note": None}
    assert statement.pop("wal_bytes") > 0
    lock = {"mode": "ACCESS EXCLUSIVE", "relation": "m.t", "in_other_schema": False, "on_new_object": False}
    locks = statement.pop("locks")
    assert all(one.pop("held_ms") > 0 for one in locks)
    assert lock in locks
    assert statement.pop("predicted") == [{"mode": "ACCESS EXCLUSIVE", "relation": "m.t", "verdict": "confirmed"}]
    assert statement.pop("rewritten") == []
    assert statement == {"number": 1, "kind": "ALTER TABLE ADD COLUMN", "line": 1, "column": 1, "skipped": None}
    failure = failed.pop("failure")
    assert (failure["statement"], failure["line"], failure["column"], failure["sqlstate"]) == (2, 3, 3, "22012")
    assert failed.pop("total_time_ms") > 0
    assert failed == {
        "module": "m",
        "schema": "m",
        "succeeded": False,
        "replayed": ["001_a.sql"],
        "missing": [],
        "not_reached": ["003_c.sql"],
        "stopped": None,
        "kept_open_since": None,
        "left_behind": None,
    }
    assert service.post("/modules/m/rehearse", json={"target": "001"}).json()["succeeded"] is True

    repo.write("m", _002_b="SELECT pg_sleep(60)")
    late = service.post("/modules/m/rehearse", json={"timeout_s": 0.2}).json()
    assert (late["succeeded"], late["failure"]) == (False, None)
    assert "0.2 s" in late["stopped"]
    repo.write("m", _002_b="SELEKT")
    assert_problem(service.post("/modules/m/rehearse"), 422, "migration_file_invalid")
    assert sql("SELECT FROM pg_namespace WHERE nspname LIKE 'pgdbm_rehearsal%'") == []
    assert [one["filename"] for one in service.get("/modules/m/history").json()["items"]] == ["001_a.sql"]
