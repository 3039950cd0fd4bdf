"""POST /modules/{m}/migrate and POST /migrate."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from pgdbm.migrations.state.lock import MigrationLock
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = "datname = current_database()"
TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"


def test_success_then_up_to_date(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1)")
    service.sync()
    result = service.post("/modules/m/migrate").json()
    assert result["total_time_ms"] >= 0
    assert service.get(f"/runs/{result['run_id']}").json()["status"] == "succeeded"
    assert result | {"applied": [], "total_time_ms": 0, "run_id": None} == {
        "module": "m",
        "status": "success",
        "applied": [],
        "pending": [],
        "skipped": 0,
        "total": 2,
        "total_time_ms": 0,
        "run_id": None,
    }
    assert [(one["filename"], one["schema"]) for one in result["applied"]] == [("001_a.sql", "m"), ("002_b.sql", "m")]
    again = service.post("/modules/m/migrate")
    assert again.status_code == 200
    assert (again.json()["status"], again.json()["skipped"], again.json()["applied"]) == ("up_to_date", 2, [])
    assert again.json()["run_id"] is None
    assert len(sql("SELECT * FROM m.t")) == 1


def test_a_dry_run_changes_nothing(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    result = service.post("/modules/m/migrate", json={"dry_run": True}).json()
    assert (result["status"], result["pending"], result["applied"]) == ("dry_run", ["001_a.sql"], [])
    assert service.post("/migrate", json={"dry_run": True}).json()["status"] == "dry_run"
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'm'") == []


def test_valid_bodies_are_accepted(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    for body in ("", "{}", "null", '{"dry_run": false}'):
        for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
            response = service.post("/modules/m/migrate", content=body, headers={"Content-Type": kind})
            assert response.status_code == 200, (body, kind)
            assert response.json()["status"] in ("success", "up_to_date")


BAD_BODIES: dict[str | bytes, str] = {
    '{"dryrun": true}': "dryrun",
    '{"dry_run": true, "targets": "003"}': "targets",
    '{"dry_run": "perhaps"}': "dry_run",
    '{"dry_run": 7}': "dry_run",
    "[]": "body",
    '"x"': "body",
    "{": "body",
    "dry_run=true": "body",
    b"\xff\xfe": "body",
}


def test_invalid_bodies_are_refused(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    for body, field in BAD_BODIES.items():
        for path in ("/modules/m/migrate", "/migrate"):
            problem = assert_problem(service.post(path, content=body), 400, "invalid_request")
            assert [error["field"] for error in problem["errors"]] == [field], body
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'm'") == []


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("dryrun", "Did you mean dry_run?"),
        ("policy", "out_of_order belongs to the registration"),
        ("depends_on", "depends_on belongs to the registration"),
    ],
)
def test_an_unknown_field_is_answered_with_the_one_that_is_meant(
    service: Any, repo: Any, field: str, hint: str
) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    for path in ("/modules/m/migrate", "/migrate"):
        problem = assert_problem(service.post(path, json={field: True}), 400, "invalid_request")
        assert f"{field}: there is no such field. {hint}" in problem["detail"]


def test_dry_run_as_a_query_parameter_does_not_migrate(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    assert_problem(service.post("/modules/m/migrate?dry_run=true"), 400, "invalid_request")
    assert_problem(service.post("/migrate?dry_run=true"), 400, "invalid_request")
    assert sql("SELECT FROM pg_namespace WHERE nspname = 'm'") == []


def test_a_body_over_the_limit_is_refused(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    service = start(max_body_bytes=1024)
    assert_problem(service.post("/modules/m/migrate", content=b" " * 5000), 413, "body_too_large")


def test_a_failing_statement_is_located(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write(
        "m",
        _001_a=TABLE,
        _002_b="INSERT INTO {{tables.t}} VALUES (1);\n\n  INSERT INTO {{tables.t}}\n    SELECT nothing FROM pg_class;",
        _003_c="SELECT 1",
    )
    service.sync()
    problem = assert_problem(service.post("/modules/m/migrate"), 422, "migration_failed")
    assert (problem["module"], problem["filename"]) == ("m", "002_b.sql")
    assert (problem["statement"], problem["line"], problem["column"]) == (2, 4, 12)
    assert problem["sqlstate"] == "42703"
    assert "nothing" in problem["database_message"]
    assert [one["filename"] for one in problem["applied"]] == ["001_a.sql"]
    assert sql("SELECT * FROM m.t") == []
    history = service.get("/modules/m/history").json()["items"]
    assert [item["filename"] for item in history] == ["001_a.sql"]
    repo.write("m", _002_b="INSERT INTO {{tables.t}} VALUES (1)")
    assert service.post("/modules/m/migrate").json()["status"] == "success"


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        (b"", 1, None),
        (b"  \n", 1, None),
        (b"SELECT 1;\nSELECT '\xe9'", 2, 9),
        (b"SELECT 1;\nSELECT * FROM {{tabels.t}}", 2, 15),
        (b"SELECT 1;\n  SELEKT 2", 2, 3),
        (b"BEGIN;\nSELECT 1", 1, None),
        (b"SELECT 1;\nVACUUM", 2, None),
    ],
    ids=["empty", "blank", "not UTF-8", "unknown placeholder", "syntax", "transaction control", "not in transaction"],
)
def test_invalid_files_are_refused(
    service: Any, repo: Any, sql: Callable[..., Any], content: bytes, line: int, column: int | None
) -> None:
    repo.write("m", _001_a=TABLE, _002_b=content)
    service.sync()
    problem = assert_problem(service.post("/modules/m/migrate"), 422, "migration_file_invalid")
    assert (problem["module"], problem["filename"], problem["line"]) == ("m", "002_b.sql", line)
    if column is not None:
        assert problem["column"] == column
    assert sql("SELECT FROM pg_class WHERE relname = 't'") == []


def test_a_file_that_ends_its_own_session_fails_the_second_time(service: Any, repo: Any) -> None:
    """A client that tries again whenever the database is away would do so without end."""
    repo.write("m", _001_a=TABLE, _002_b="SELECT 1;\nSELECT pg_terminate_backend(pg_backend_pid());")
    service.sync()
    assert_problem(service.post("/modules/m/migrate"), 503, "database_unavailable")
    problem = assert_problem(service.post("/modules/m/migrate"), 422, "migration_failed")
    assert (problem["filename"], problem["statement"], problem["line"]) == ("002_b.sql", 2, 2)
    assert "pg_terminate_backend" in problem["hint"]
    assert service.get("/modules/m").json()["state"] == "failed"
    repo.write("m", _002_b="SELECT 1;")
    service.sync()
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_two_files_with_one_version_are_refused(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _01_b="SELECT 1")
    service.sync()
    problem = assert_problem(service.post("/modules/m/migrate"), 422, "migration_file_invalid")
    assert "001_a.sql" in problem["detail"]
    assert "01_b.sql" in problem["detail"]
    listed = service.get("/modules").json()["items"][0]
    assert (listed["state"], listed["problem"]["code"]) == ("invalid", "migration_file_invalid")
    assert_problem(service.get("/modules/m/migrations"), 422, "migration_file_invalid")


def test_a_changed_applied_file_is_refused(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _001_a=TABLE + " -- changed", _002_b="SELECT 1")
    problem = assert_problem(service.post("/modules/m/migrate"), 409, "checksum_changed")
    assert problem["filename"] == "001_a.sql"
    recorded = sql("SELECT checksum FROM m.schema_migrations")[0]["checksum"]
    assert problem["recorded_checksum"] == recorded
    assert problem["current_checksum"] != recorded
    assert len(sql("SELECT FROM m.schema_migrations")) == 1


@pytest.mark.parametrize("policy", ["reject", "allow"])
def test_out_of_order_files_follow_the_setting(service: Any, repo: Any, policy: str) -> None:
    repo.write("m", f'out_of_order = "{policy}"', _002_b=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    repo.write("m", _001_a="SELECT 1")
    response = service.post("/modules/m/migrate")
    if policy == "allow":
        assert response.json()["applied"][0]["filename"] == "001_a.sql"
    else:
        problem = assert_problem(response, 409, "out_of_order")
        assert (problem["filename"], problem["newest_applied"]) == ("001_a.sql", "002_b.sql")
        assert service.get("/modules/m").json()["state"] == "out_of_order"


def test_all_modules_are_migrated_in_dependency_order(service: Any, repo: Any) -> None:
    repo.write("a", 'depends_on = ["c"]', _001_a="CREATE TABLE {{tables.x}} AS TABLE {{tables.c.t}}")
    repo.write("b", _001_a=TABLE)
    repo.write("c", 'depends_on = ["b"]', _001_a="CREATE TABLE {{tables.t}} AS TABLE {{tables.b.t}}")
    service.sync()
    result = service.post("/migrate").json()
    assert (result["status"], result["not_reached"]) == ("success", [])
    assert [item["module"] for item in result["items"]] == ["b", "c", "a"]
    assert service.post("/migrate").json()["status"] == "up_to_date"


def test_migrating_all_stops_at_the_first_failure(service: Any, repo: Any) -> None:
    repo.write("a", _001_a=TABLE)
    repo.write("b", _001_a="SELECT 1 / 0")
    repo.write("c", _001_a=TABLE)
    service.sync()
    problem = assert_problem(service.post("/migrate"), 422, "migration_failed")
    assert (problem["module"], problem["sqlstate"]) == ("b", "22012")
    assert [(item["module"], item["status"]) for item in problem["items"]] == [("a", "success")]
    assert problem["not_reached"] == ["c"]
    states = {item["name"]: item["state"] for item in service.get("/modules").json()["items"]}
    assert states == {"a": "up_to_date", "b": "failed", "c": "pending"}


def test_concurrent_migrates_apply_once(
    service: Any, start: Callable[..., Any], repo: Any, sql: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(0.3); INSERT INTO {{tables.t}} VALUES (1)")
    service.sync()
    services = [service, start()]
    with ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(services[n % 2].post, "/modules/m/migrate") for n in range(6)]
        answers = [call.result() for call in calls]
    assert [answer.status_code for answer in answers] == [200] * 6
    # Each joined the run, or was sent when nothing was left to do.
    by_run = {answer.json()["run_id"]: answer.json() for answer in answers}
    nothing = by_run.pop(None, None)
    assert nothing is None or nothing["status"] == "up_to_date"
    (run,) = by_run.values()
    assert [one["filename"] for one in run["applied"]] == ["001_a.sql", "002_b.sql"]
    assert len(sql("SELECT FROM m.schema_migrations")) == 2


def test_concurrent_requests_miss_no_file(start: Callable[..., Any], repo: Any, sql: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service = start()
    service.post("/modules/m/migrate")
    with ThreadPoolExecutor(6) as threads:
        for number in range(2, 6):
            # Reads of earlier requests are in progress while the file appears.
            before = [threads.submit(service.post, "/modules/m/migrate") for _ in range(3)]
            repo.write("m", **{f"_00{number}_more": f"INSERT INTO {{{{tables.t}}}} VALUES ({number})"})
            after = [threads.submit(service.post, "/modules/m/migrate") for _ in range(3)]
            assert [one.result().json()["total"] for one in after] == [number] * 3
            for one in before:
                one.result()
    assert [row["id"] for row in sql("SELECT id FROM m.t ORDER BY id")] == [2, 3, 4, 5]


async def test_reads_are_served_while_every_migration_slot_is_taken(
    start: Callable[..., Any], repo: Any, connect: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    names = [f"m{number}" for number in range(5)]
    for name in names:
        repo.write(name, _001_a="SELECT pg_advisory_xact_lock(7)")
    service = start(max_connections=3)
    async with connect() as connection:
        await connection.execute("SELECT pg_advisory_lock(7)")
        for name in names:
            answer = await asyncio.to_thread(service.post, f"/modules/{name}/migrate", json={"wait_s": 0})
            assert answer.status_code == 202, answer.text
        while not await connection.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            await asyncio.sleep(0.01)
        for path in ("/health/ready", "/modules", "/schemas", "/runs", answer.headers["location"]):
            assert (await asyncio.to_thread(service.get, path)).status_code == 200
        running = await asyncio.to_thread(service.get, "/runs?status=running")
        assert len(running.json()["items"]) == 1
        await connection.execute("SELECT pg_advisory_unlock(7)")

    def done() -> bool:
        return len(service.get("/runs?status=succeeded").json()["items"]) == len(names)

    await asyncio.to_thread(eventually, done)


async def test_a_timeout_names_the_other_runner(
    start: Callable[..., Any], repo: Any, connect: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(lock_wait_s=0.3)
    async with connect() as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", MigrationLock("m", "m", 0).key)
        refused = await asyncio.to_thread(service.post, "/modules/m/migrate")
        problem = assert_problem(refused, 503, "lock_timeout")
        assert problem["module"] == "m"
        assert problem["holder"]["pid"] == connection.get_server_pid()
        assert "query" not in problem["holder"]
        assert int(refused.headers["retry-after"]) > 0
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_a_migration_continues_when_the_client_disconnects(
    service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(0.5)", _003_c="INSERT INTO {{tables.t}} VALUES (1)")
    service.sync()
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        request = f"POST /modules/m/migrate HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(request.encode())
        eventually(
            lambda: sql("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")
        )
    assert sql("SELECT to_regclass('m.t') AS t")[0]["t"] is not None
    eventually(lambda: sql("SELECT * FROM m.t"))
    assert service.get("/modules/m").json()["state"] == "up_to_date"


def test_a_lock_timeout_can_be_retried(start: Callable[..., Any], repo: Any) -> None:
    refused = "DO $$ BEGIN RAISE EXCEPTION 'locked' USING ERRCODE = 'lock_not_available'; END $$"
    repo.write("m", _001_a=TABLE, _002_b=f"SELECT 1;\n{refused}")
    response = start(lock_wait_s=0).post("/modules/m/migrate")
    problem = assert_problem(response, 503, "lock_timeout")
    assert int(response.headers["retry-after"]) > 0
    assert (problem["filename"], problem["statement"], problem["line"]) == ("002_b.sql", 2, 2)


def test_the_session_that_locks_the_history_is_named(start: Callable[..., Any], repo: Any, database: str) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer)")
    service = start(database_timeout_s=5)
    service.post("/modules/m/migrate")
    repo.write("m", _002_b="SELECT 1")
    service.post("/modules/reload")

    async def refused() -> tuple[int, Any]:
        holder = await asyncpg.connect(database, server_settings={"application_name": "a maintenance window"})
        try:
            await holder.execute("BEGIN; LOCK TABLE m.schema_migrations IN ACCESS EXCLUSIVE MODE")
            return holder.get_server_pid(), await asyncio.to_thread(service.post, "/modules/m/migrate")
        finally:
            await holder.close()

    pid, answer = asyncio.run(refused())
    problem = assert_problem(answer, 503, "lock_timeout")
    assert answer.headers["retry-after"]
    assert (problem["holder"]["pid"], problem["holder"]["application_name"]) == (pid, "a maintenance window")
    assert problem["holder"]["state"] == "idle in transaction"
    assert "m.schema_migrations" in problem["detail"]
    assert f"pid {pid}" in problem["detail"]
    assert service.post("/modules/m/migrate").json()["status"] == "success"
