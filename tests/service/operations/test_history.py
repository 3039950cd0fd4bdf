"""Changes of the history over HTTP: mark, baseline, repair, revert, resolve."""

from __future__ import annotations

import asyncio
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pgdbm.migrations.state.journal import hash_of
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
NO_TRANSACTION = "-- pgdbm:no-transaction\n"


def down(repo: Any, module: str, name: str, content: str) -> None:
    (repo.path / module / f"{name}.down.sql").write_text(content)


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


def test_a_down_migration_that_ends_its_own_session_fails_the_second_time(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    down(repo, "m", "001_a", "DROP TABLE {{tables.t}};\nSELECT pg_terminate_backend(pg_backend_pid())")
    service.sync()
    service.post("/modules/m/migrate")
    assert_problem(service.post("/modules/m/revert"), 503, "database_unavailable")
    problem = assert_problem(service.post("/modules/m/revert"), 422, "migration_failed")
    where = [problem[name] for name in ("module", "filename", "statement", "line", "sqlstate")]
    assert where == ["m", "001_a.down.sql", 2, 2, "57P01"]
    assert "pg_terminate_backend" in problem["hint"]
    assert service.get("/modules/m").json()["applied"] == 1
    down(repo, "m", "001_a", "DROP TABLE {{tables.t}}")
    service.sync()
    assert service.post("/modules/m/revert").json()["reverted"][0]["filename"] == "001_a.sql"


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
