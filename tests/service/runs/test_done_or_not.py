"""No answer reports success too early: unfinished migrates, runs in many schemas, runs that were blocked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.problems import assert_problem
from tests.support.waiting import eventually

from ...conftest import ROOT
from ...support.front_proxy import FrontProxy
from .test_runs import ASYNC, TABLE, ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..conftest import Process

HELD = "SELECT pg_advisory_xact_lock(7)"


def test_a_migrate_with_require_done_fails_until_the_run_has_ended(service: Any, repo: Any, database: str) -> None:
    repo.write("m", _001_a=HELD)
    service.sync()
    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        asked = {"params": {"require_done": "true"}, "headers": {"Prefer": "wait=1"}}
        response = service.post("/modules/m/migrate", **asked)
        problem = assert_problem(response, 504, "run_not_ended")
        assert response.headers["location"] == f"/runs/{problem['run_id']}"
        assert response.headers["retry-after"] == "1"
        assert (problem["module"], problem["run_status"]) == ("m", "running")
        # It joins the run.
        assert service.post("/modules/m/migrate", **asked).json()["run_id"] == problem["run_id"]
        all_of_them = assert_problem(service.post("/migrate", **asked), 504, "run_not_ended")
    for one in (problem, all_of_them):
        assert ended(service, f"/runs/{one['run_id']}", eventually)["status"] == "succeeded"
    assert service.post("/modules/m/migrate?require_done=true").json()["status"] == "up_to_date"


def test_a_retry_can_require_done(service: Any, repo: Any, database: str) -> None:
    repo.write("m", _001_a="SELECT 1 / 0")
    service.sync()
    failed = assert_problem(service.post("/modules/m/migrate?require_done=true"), 422, "migration_failed")["run_id"]
    repo.write("m", _001_a=HELD)
    service.sync()
    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        address = f"/runs/{failed}/retry?require_done=true"
        problem = assert_problem(service.post(address, headers={"Prefer": "wait=0"}), 504, "run_not_ended")
    assert ended(service, f"/runs/{problem['run_id']}", eventually)["retry_of"] == failed


def curl_of_the_docs(url: str, module: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command that docs/howto/runs.md gives to copy, for another service and module."""
    page = (ROOT / "docs" / "howto" / "runs.md").read_text()
    (command,) = (one for one in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "require_done" in one)
    command = command.replace("http://127.0.0.1:8000", url).replace("/parcels/", f"/{module}/")
    return subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_succeeds_only_if_the_migration_did(service: Any, repo: Any, tmp_path: Path) -> None:
    repo.write("slow", _001_a="SELECT pg_sleep(1)")
    repo.write("bad", _001_a="SELECT 1", _002_b="SELECT 1 / 0")
    service.sync()
    assert curl_of_the_docs(service.url, "slow", tmp_path).returncode == 0
    assert json.loads((tmp_path / "answer.json").read_text())["status"] == "success"
    assert curl_of_the_docs(service.url, "bad", tmp_path).returncode == 1
    assert json.loads((tmp_path / "answer.json").read_text())["code"] == "migration_failed"
    # A permanent failure is not retried.
    assert len(service.get("/runs?module=bad").json()["items"]) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_curl_survives_the_death_of_a_replica(
    fork: Callable[..., Process], repo: Any, database: str, sql: Callable[..., Any], tmp_path: Path
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(4)")
    first, second = (fork(DATABASE_URL=database, PGDBM_TAKEOVER_S="1") for _ in range(2))
    ports = [int(process.url().rpartition(":")[2]) for process in (first, second)]
    with FrontProxy(ports) as proxy, ThreadPoolExecutor(1) as threads:
        calling = threads.submit(curl_of_the_docs, proxy.url, "m", tmp_path)
        eventually(lambda: sql("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        first.popen.kill()
        assert calling.result().returncode == 0, calling.result().stderr
    assert [row[0] for row in sql("SELECT filename FROM m.schema_migrations ORDER BY id")] == ["001_a.sql", "002_b.sql"]


def test_a_failed_run_in_many_schemas_reports_the_outcome_of_each(service: Any, repo: Any, sql: Any) -> None:
    repo.write("fleet", 'schemas = ["s_1", "s_2", "s_3", "s_4"]', _001_a=TABLE)
    service.sync()
    sql("CREATE SCHEMA s_2")
    sql("CREATE TABLE s_2.t ()")
    problem = assert_problem(
        service.post("/modules/fleet/migrate", json={"on_failure": "continue"}), 422, "migration_failed"
    )
    assert problem["failed_schemas"] == ["s_2"]
    assert problem["schema_counts"] | {"total": 4, "succeeded": 3, "failed": 1} == problem["schema_counts"]
    assert "Of 4 schemas, 3 were migrated, 1 failed (s_2)." in problem["detail"]
    assert service.get(f"/runs/{problem['run_id']}").json()["problem"]["detail"] == problem["detail"]


def test_schemas_that_were_not_reached_are_counted(service: Any, repo: Any, sql: Any) -> None:
    repo.write("fleet", 'schemas = ["s_1", "s_2", "s_3"]', _001_a=TABLE)
    service.sync()
    sql("CREATE SCHEMA s_1")
    sql("CREATE TABLE s_1.t ()")
    problem = service.post("/modules/fleet/migrate", json={"canary": 1}).json()
    assert problem["schema_counts"]["not_reached"] == 2
    assert "Of 3 schemas, 0 were migrated, 1 failed (s_1), 2 were not reached." in problem["detail"]


def test_after_a_lock_timeout_the_problem_and_the_run_name_the_blockers(
    start: Callable[..., Any], repo: Any, database: str, watch: Any
) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(lock_wait_s=4)
    assert service.post("/modules/m/migrate").status_code == 200
    repo.write("m", _002_b="SELECT 1;\nALTER TABLE {{tables.t}} ADD COLUMN n integer")
    service.post("/repo/sync")
    with psycopg.connect(database, application_name="billing-worker") as session:
        session.execute("SELECT 'a secret of theirs' FROM m.t")
        pid = session.info.backend_pid
        body = {"lock_timeout_ms": 700}
        problem = assert_problem(service.post("/modules/m/migrate", json=body), 503, "lock_timeout")
    (blocker,) = problem["waiting_for"]
    assert (blocker["pid"], blocker["application_name"], blocker["state"]) == (
        pid,
        "billing-worker",
        "idle in transaction",
    )
    assert (blocker["relation"], blocker["mode"]) == ("m.t", "ACCESS EXCLUSIVE")
    assert blocker["query"] == "SELECT ? FROM m.t"
    assert blocker["user"]
    assert blocker["transaction_age_s"] > 0
    assert problem["attempts"] >= 2
    assert problem["waited_s"] > 1
    assert f"Process {pid} (billing-worker, " in problem["detail"]
    assert "secret of theirs" not in str(problem)
    run = service.get(f"/runs/{problem['run_id']}").json()
    assert run["problem"]["waiting_for"] == problem["waiting_for"]
    line = next(line for line in watch.logged().splitlines() if "migrate failed" in line and str(pid) in line)
    for word in ("billing-worker", "waiting_for", "attempts", "waited_s", "ACCESS EXCLUSIVE"):
        assert word in line


def test_a_run_stays_blocked_between_two_attempts(start: Callable[..., Any], repo: Any, database: str) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(lock_wait_s=60, metrics_sample_s=0.05)
    assert service.post("/modules/m/migrate").status_code == 200
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN n integer")
    service.post("/repo/sync")

    def blocked() -> float:
        lines = service.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith('pgdbm_schemas_blocked{module="m"}'))

    with psycopg.connect(database) as session:
        session.execute("LOCK TABLE m.t IN ACCESS SHARE MODE")
        address = service.post("/modules/m/migrate", json={"lock_timeout_ms": 300}, headers=ASYNC).headers["location"]
        eventually(lambda: blocked() == 1)

        def attempts() -> int:
            return sum(
                1
                for event in service.get(f"{address}/schemas").json()["items"]
                if (event["progress"] or {}).get("retrying", {}).get("attempt", 0) >= 4
            )

        seen = []
        eventually(lambda: (seen.append(blocked()), attempts())[1])
        assert set(seen) == {1}
    assert ended(service, address, eventually)["status"] == "succeeded"
    eventually(lambda: blocked() == 0)
