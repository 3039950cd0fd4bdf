"""The operations over HTTP: plan, drift, journal, ready; mark, baseline, rehearse, repair, revert, resolve."""

from __future__ import annotations

import asyncio
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm.migrations.state.journal import hash_of
from pgdbm_service.settings import ModulePolicy
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
NO_TRANSACTION = "-- pgdbm:no-transaction\n"
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
READS = ("plan", "drift", "journal", "ready")
CHANGES: dict[str, dict[str, Any] | None] = {
    "mark": {"filename": "001_a.sql", "applied": True},
    "baseline": {"version": "001"},
    "rehearse": None,
    "repair": None,
    "revert": None,
    "resolve": {"filename": "001_a.sql", "statement": 1, "done": True},
}


def down(repo: Any, module: str, name: str, content: str) -> None:
    (repo.path / module / f"{name}.down.sql").write_text(content)


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


def test_a_migration_is_marked_and_unmarked(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1")
    service.sync()
    body = {"filename": "001_a.sql", "applied": True}
    assert service.post("/modules/m/mark", json=body).json() == {"module": "m", "schema": "m"} | body
    assert sql("SELECT to_regclass('m.t') AS t")[0]["t"] is None
    assert service.get("/modules/m").json()["applied"] == 1
    problem = assert_problem(service.post("/modules/m/mark", json=body), 422, "migration_error")
    assert (problem["module"], problem["filename"]) == ("m", "001_a.sql")
    unknown = service.post("/modules/m/mark", json={"filename": "001_b.sql", "applied": True})
    assert "001_a.sql" in assert_problem(unknown, 404, "migration_unknown")["hint"]
    nul = service.post("/modules/m/mark", json={"filename": "a\x00", "applied": False})
    assert_problem(nul, 422, "migration_error")

    (repo.path / "m" / "001_a.sql").unlink()
    assert service.post("/modules/m/mark", json=body | {"applied": False}).status_code == 200
    assert sql("SELECT FROM m.schema_migrations") == []


def test_a_schema_is_baselined(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="ALTER TABLE {{tables.t}} ADD b text", _003_c="SELECT 1")
    sql("CREATE SCHEMA m")
    sql("CREATE TABLE m.t (id integer PRIMARY KEY)")
    service.sync()
    problem = assert_problem(service.post("/modules/m/baseline", json={"version": "002"}), 409, "baseline_mismatch")
    assert problem["module"] == "m"
    assert {(one["kind"], one["object_kind"], one["name"], one["after"]) for one in problem["changes"]} >= {
        ("removed", "column", "t.b", None)
    }
    assert sql("SELECT to_regclass('m.schema_migrations') AS h")[0]["h"] is None
    answer = service.post("/modules/m/baseline", json={"version": "1"}).json()
    reported = {"module": "m", "schema": "m", "version": "1", "checked": True, "baselined": ["001_a.sql"]}
    assert answer == reported
    assert service.get("/modules/m/migrations").json()["items"][0]["state"] == "baseline"
    again = assert_problem(service.post("/modules/m/baseline", json={"version": "2"}), 422, "migration_error")
    assert "mark" in again["detail"]
    migrated = service.post("/modules/m/migrate").json()
    assert [one["filename"] for one in migrated["applied"]] == ["002_b.sql", "003_c.sql"]

    repo.write("unchecked", _001_a=TABLE)
    service.post("/repo/sync")
    unchecked = service.post("/modules/unchecked/baseline", json={"version": "001", "check": False}).json()
    assert (unchecked["checked"], unchecked["baselined"]) == (False, ["001_a.sql"])
    assert sql("SELECT to_regclass('unchecked.t') AS t")[0]["t"] is None
    assert_problem(service.post("/modules/unchecked/baseline", json={"version": "9"}), 422, "migration_error")


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
    lock = {"mode": "ACCESS EXCLUSIVE", "relation": "m.t", "outside": False, "new": False}
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


def test_operations_of_a_module_with_several_schemas_need_a_schema(service: Any, repo: Any) -> None:
    repo.write("m", 'schemas = ["a", "b"]', _001_a=TABLE)
    down(repo, "m", "001_a", "DROP TABLE {{tables.t}}")
    service.sync()
    for operation, body in CHANGES.items():
        problem = assert_problem(service.post(f"/modules/m/{operation}", json=body or {}), 400, "invalid_request")
        assert [error["field"] for error in problem["errors"]] == ["schema"]
    service.post("/modules/m/migrate", json={"schemas": ["a"]})
    assert service.get("/modules/m/ready?schema=a").status_code == 200
    for query in ("", "?schema=b"):
        problem = assert_problem(service.get(f"/modules/m/ready{query}"), 503, "not_migrated")
        assert problem["schema"] == "b"
    assert service.get("/modules/m/plan?schema=b").json()["schema"] == "b"
    assert service.get("/modules/m/plan").json()["pending"] == []
    assert service.get("/modules/m/drift?schema=a").json()["clean"] is True
    assert service.post("/modules/m/rehearse", json={"schema": "b"}).json()["succeeded"] is True
    marked = service.post("/modules/m/mark", json={"filename": "001_a.sql", "applied": True, "schema": "b"})
    assert marked.json()["schema"] == "b"
    assert service.get("/modules/m/ready").json()["schema"] == "a"
    assert service.get("/modules/m/journal?schema=b").json()["items"][0]["event"] == "marked"
    reverted = service.post("/modules/m/revert", json={"schema": "a"}).json()["reverted"]
    assert [one["schema"] for one in reverted] == ["a"]
    for path in ("plan", "ready", "drift", "journal"):
        assert_problem(service.get(f"/modules/m/{path}?schema=c"), 400, "invalid_request")


def test_repair_shows_the_previously_registered_content(service: Any, sql: Callable[..., Any]) -> None:
    for content in ("SELECT 1;\nSELECT 'old'", "SELECT 1;\nSELECT 'new'"):
        files = {"migrations": [{"filename": "001_a.sql", "content": content}]}
        service.client.put("/modules/m", json=files).raise_for_status()
    service.client.put("/modules/m", json={"migrations": [{"filename": "001_a.sql", "content": "SELECT 1"}]})
    service.post("/modules/m/migrate").raise_for_status()
    # The state after a run outside the service.
    sql(
        "UPDATE m.schema_migrations SET checksum = "
        "(SELECT checksum FROM pgdbm_service.file_contents WHERE content LIKE '%old%')"
    )
    for body in ({}, {"accept": True}):
        (item,) = service.post("/modules/m/repair", json=body).json()["items"]
        assert item["diff"].splitlines()[3:] == ["-SELECT 1;", "-SELECT 'old'", "+SELECT 1"]
    assert service.post("/modules/m/repair").json()["items"] == []


def test_a_changed_file_is_repaired(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1")
    git = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
    for arguments in (("init", "--quiet"), ("add", "."), ("commit", "--quiet", "-m", "x")):
        subprocess.run([*git, *arguments], cwd=repo.path, check=True)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _002_b="SELECT 2")
    refused = assert_problem(service.post("/modules/m/migrate"), 409, "checksum_changed")
    assert_problem(service.get("/modules/m/plan"), 409, "checksum_changed")
    listed = service.post("/modules/m/repair").json()
    diff = listed["items"][0].pop("diff").splitlines()
    assert diff[3:] == ["-SELECT 1", "+SELECT 2"]
    assert listed == {
        "module": "m",
        "schema": "m",
        "accepted": False,
        "items": [
            {
                "filename": "002_b.sql",
                "recorded": refused["recorded_checksum"],
                "current": refused["current_checksum"],
            }
        ],
    }
    assert service.get("/modules/m").json()["changed"] == 1
    accepted = service.post("/modules/m/repair", json={"accept": True}).json()
    assert accepted["items"][0].pop("diff").splitlines() == diff
    assert accepted == listed | {"accepted": True}
    assert service.post("/modules/m/repair").json()["items"] == []
    assert service.post("/modules/m/migrate").json()["status"] == "up_to_date"


def test_a_migration_is_reverted(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="ALTER TABLE {{tables.t}} ADD b text", _003_c="CREATE TABLE {{tables.u}} ()")
    down(repo, "m", "002_b", "ALTER TABLE {{tables.t}} DROP b")
    down(repo, "m", "003_c", "DROP TABLE {{tables.u}}")
    service.sync()
    service.post("/modules/m/migrate")
    answer = service.post("/modules/m/revert").json()
    assert answer["module"] == "m"
    assert [(one["filename"], one["schema"]) for one in answer["reverted"]] == [("003_c.sql", "m")]
    assert answer["reverted"][0]["execution_time_ms"] >= 0
    assert sql("SELECT to_regclass('m.u') AS u")[0]["u"] is None
    service.post("/modules/m/migrate")
    two = service.post("/modules/m/revert", json={"steps": 2}).json()
    assert [one["filename"] for one in two["reverted"]] == ["003_c.sql", "002_b.sql"]
    problem = assert_problem(service.post("/modules/m/revert"), 422, "migration_error")
    assert (problem["module"], problem["filename"]) == ("m", "001_a.sql")
    assert [one["filename"] for one in service.get("/modules/m/history").json()["items"]] == ["001_a.sql"]


def test_a_failing_down_migration_is_reported(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    down(repo, "m", "001_a", "SELECT 1;\nDROP TABLE {{tables.nothing}}")
    service.sync()
    service.post("/modules/m/migrate")
    problem = assert_problem(service.post("/modules/m/revert"), 422, "migration_failed")
    assert (problem["module"], problem["statement"], problem["line"], problem["sqlstate"]) == ("m", 2, 2, "42P01")
    assert service.get("/modules/m").json()["applied"] == 1


async def test_reverting_waits_for_the_migration_lock(
    start: Callable[..., Any], repo: Any, connect: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_advisory_xact_lock(7)")
    down(repo, "m", "001_a", "DROP TABLE {{tables.t}}")
    service = start(lock_wait_s=0.3)
    async with connect() as connection:
        await connection.execute("SELECT pg_advisory_lock(7)")
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(service.post, "/modules/m/migrate")
            blocked = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while not await connection.fetch(blocked):
                await asyncio.sleep(0.01)
            refused = await asyncio.to_thread(service.post, "/modules/m/revert")
            await connection.execute("SELECT pg_advisory_unlock(7)")
            assert (await asyncio.to_thread(call.result)).status_code == 200
    assert assert_problem(refused, 503, "lock_timeout")["module"] == "m"
    assert int(refused.headers["retry-after"]) > 0


def test_an_unknown_outcome_is_resolved(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _002_b=f"{NO_TRANSACTION}CREATE INDEX CONCURRENTLY ON {{{{tables.t}}}} (id)")
    body = {"filename": "002_b.sql", "statement": 1, "done": True}
    assert_problem(service.post("/modules/m/resolve", json=body), 422, "migration_error")
    # The journal entry of a runner that died while the statement ran.
    service.post("/modules/m/mark", json={"filename": "002_b.sql", "applied": True})
    service.post("/modules/m/mark", json={"filename": "002_b.sql", "applied": False})
    sql(
        "INSERT INTO m.pgdbm_journal (module, filename, statement, event, statement_hash, pid) "
        "VALUES ('m', '002_b.sql', 1, 'started', $1, 0)",
        hash_of('CREATE INDEX CONCURRENTLY ON "m".t (id)'),
    )
    unknown = assert_problem(service.post("/modules/m/migrate"), 409, "outcome_unknown")
    assert (unknown["module"], unknown["filename"], unknown["statement"]) == ("m", "002_b.sql", 1)
    assert service.post("/modules/m/resolve", json=body).json() == {"module": "m", "schema": "m"} | body
    assert service.post("/modules/m/migrate").json()["status"] == "success"
    assert len(sql("SELECT FROM pg_index WHERE indrelid = 'm.t'::regclass")) == 1
    nowhere = service.post("/modules/m/resolve", json=body | {"filename": "x\x00"})
    assert_problem(nowhere, 404, "migration_unknown")


def test_operations_of_a_missing_schema_answer(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    bodies = {"resolve": CHANGES["resolve"], "revert": None, "repair": {"accept": True}}
    refused = {operation: service.post(f"/modules/m/{operation}", json=body) for operation, body in bodies.items()}
    assert_problem(refused["resolve"], 422, "migration_error")
    assert_problem(refused["revert"], 422, "migration_error")
    assert refused["repair"].json()["items"] == []
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'm'") == []


def test_invalid_bodies_are_refused(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    bad: list[tuple[str, Any]] = [
        ("mark", {}),
        ("mark", {"filename": "001_a.sql"}),
        ("mark", {"filename": "", "applied": True}),
        ("mark", {"filename": "001_a.sql", "applied": True, "force": True}),
        ("baseline", {}),
        ("baseline", {"version": ""}),
        ("baseline", {"version": "001", "check": None}),
        ("rehearse", {"timeout_s": 0}),
        ("rehearse", {"timeout_s": 3601}),
        ("rehearse", {"schema": "another"}),
        ("repair", {"accept": "perhaps"}),
        ("revert", {"steps": 0}),
        ("revert", {"step": 1}),
        ("resolve", {"filename": "001_a.sql", "statement": 0, "done": True}),
        ("resolve", {"filename": "001_a.sql", "statement": 1}),
    ]
    for operation, body in bad:
        problem = assert_problem(service.post(f"/modules/m/{operation}", json=body), 400, "invalid_request")
        assert len(problem["errors"]) == 1, (operation, body, problem)
    assert_problem(service.post("/modules/m/revert?steps=1"), 400, "invalid_request")


def test_unusable_modules_are_refused(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("bad", "depends = 1", _001_a=TABLE)
    repo.write("gone", _001_a="SELECT 1 / 0")
    service.sync()
    for module, status, code in (("nothing", 404, "module_unknown"), ("bad", 422, "module_invalid")):
        for operation in READS:
            assert_problem(service.get(f"/modules/{module}/{operation}"), status, code)
        for operation, body in CHANGES.items():
            problem = assert_problem(service.post(f"/modules/{module}/{operation}", json=body), status, code)
            assert problem["module"] == module
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'bad'") == []


def test_a_module_known_only_to_the_history_can_be_read(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    start().post("/modules/m/migrate")
    (repo.path / "m" / "001_a.sql").unlink()
    (repo.path / "m").rmdir()
    service = start()
    assert service.get("/modules/m/drift").json()["clean"] is True
    assert service.get("/modules/m/journal").status_code == 200
    for operation in ("plan", "ready"):
        assert_problem(service.get(f"/modules/m/{operation}"), 404, "module_unknown")
    assert_problem(service.post("/modules/m/revert"), 404, "module_unknown")


def test_operations_answer_503_without_a_database(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(wait=False, database_url="postgresql://user@127.0.0.1:1/nothing")
    for operation in READS:
        assert_problem(service.get(f"/modules/m/{operation}"), 503, "database_unavailable")
    for operation, body in CHANGES.items():
        assert_problem(service.post(f"/modules/m/{operation}", json=body), 503, "database_unavailable")


def test_the_openapi_document_names_every_answer(service: Any) -> None:
    paths = service.get("/docs/openapi.json").json()["paths"]
    calls = {operation: paths[f"/modules/{{module}}/{operation}"] for operation in (*READS, *CHANGES)}
    for operation in READS:
        assert {"200", "404", "503"} <= calls[operation]["get"]["responses"].keys()
    for operation in CHANGES:
        assert {"200", "400", "404", "422", "503"} <= calls[operation]["post"]["responses"].keys()
        required = calls[operation]["post"]["requestBody"]["required"]
        assert required is (operation in ("mark", "baseline", "resolve"))
    assert "not_migrated" in calls["ready"]["get"]["responses"]["503"]["description"]
    migrate = paths["/modules/{module}/migrate"]["post"]["responses"]
    assert "plan_moved" in migrate["409"]["description"]


CHECK = "ALTER TABLE {{tables.t}} ADD CHECK (id > 0)"


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
