"""Runs: joined, waited for, polled, cancelled, retried; and how modules refer to them."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm_service.database.queue_schema import SETTINGS, queries_over
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
HELD = "SELECT pg_advisory_xact_lock(7)"
SLEEPING = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
ASYNC = {"Prefer": "respond-async"}


def submitted(service: Any, module: str, **body: Any) -> str:
    """The address of a new run."""
    response = service.post(f"/modules/{module}/migrate", json=body, headers=ASYNC)
    assert response.status_code == 202, response.text
    return str(response.headers["location"])


def ended(service: Any, address: str, eventually: Callable[..., Any]) -> dict[str, Any]:
    run: dict[str, Any] = eventually(
        lambda: (run := service.get(address).json())["status"] not in ("queued", "running") and run
    )
    return run


def test_a_run_is_submitted_and_polled(service: Any, repo: Any, eventually: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1)")
    service.sync()
    response = service.post("/modules/m/migrate", headers=ASYNC | {"X-Request-ID": "deploy-7"})
    assert response.status_code == 202
    assert response.headers["location"] == f"/runs/{response.json()['id']}"
    run = ended(service, response.headers["location"], eventually)
    assert (run["status"], run["module"], run["created_by"], run["request_id"]) == (
        "succeeded",
        "m",
        "anonymous",
        "deploy-7",
    )
    assert run["created_at"] <= run["started_at"] <= run["ended_at"]
    assert run["schema_counts"] | {"total": 1, "succeeded": 1} == run["schema_counts"]
    assert [one["filename"] for one in run["schemas"][0]["steps"]] == ["001_a.sql", "002_b.sql"]
    assert run["result"]["status"] == "success"
    assert run["result"]["run_id"] == run["id"]
    assert run["attempts"] == service.get("/runs").json()["items"][0]["attempts"] == 1
    assert service.post("/modules/m/migrate", headers=ASYNC).json()["status"] == "up_to_date"


def test_a_run_continues_when_the_wait_ends(service: Any, repo: Any, eventually: Callable[..., Any], sql: Any) -> None:
    repo.write("m", _001_a="SELECT pg_sleep(1.5)")
    service.sync()
    for options in ({"json": {"wait_s": 0.1}}, {"headers": {"Prefer": "respond-async, wait=0"}}):
        response = service.post("/modules/m/migrate", **options)
        assert (response.status_code, response.json()["status"]) in ((202, "running"), (202, "queued"))
    # One joined the other.
    assert len(service.get("/runs").json()["items"]) == 1
    assert service.post("/modules/m/migrate").json()["run_id"] == response.json()["id"]
    assert len(sql("SELECT FROM m.schema_migrations")) == 1


def test_runs_and_modules_refer_to_each_other(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE)
    repo.write("other", _001_a=TABLE)
    service.sync()
    first = service.post("/modules/m/migrate").json()["run_id"]
    repo.write("m", _002_b="SELECT 2", _003_c="SELECT 1 / 0")
    second = assert_problem(service.post("/modules/m/migrate"), 422, "migration_failed")["run_id"]
    assert first != second
    history = service.get("/modules/m/history").json()["items"]
    assert [(one["filename"], one["run_id"]) for one in history] == [("002_b.sql", second), ("001_a.sql", first)]
    # The cached value is the same.
    assert service.get("/modules/m/history").json()["items"] == history
    assert service.get("/modules/m").json()["last_run"] == second
    listed = {one["name"]: one["last_run"] for one in service.get("/modules").json()["items"]}
    assert listed == {"m": second, "other": None}
    run = service.get(f"/runs/{second}").json()
    assert (run["status"], run["problem"]["code"], run["problem"]["sqlstate"]) == (
        "failed",
        "migration_failed",
        "22012",
    )
    assert run["schemas"][0]["problem"]["filename"] == "003_c.sql"


def test_runs_are_paged(service: Any, repo: Any) -> None:
    for name in ("a", "b"):
        repo.write(name, _001_a=TABLE)
    service.sync()
    made = [service.post(f"/modules/{name}/migrate").json()["run_id"] for name in ("a", "b")]
    repo.write("a", _002_b="SELECT 1 / 0")
    made.append(assert_problem(service.post("/modules/a/migrate"), 422, "migration_failed")["run_id"])
    seen: list[str] = []
    address = "/runs?limit=2"
    while address:
        page = service.get(address).json()
        seen += [one["id"] for one in page["items"]]
        address = f"/runs?limit=2&next={page['next']}" if page["next"] else ""
    assert seen == made[::-1]
    assert [one["id"] for one in service.get("/runs?module=a&status=succeeded").json()["items"]] == [made[0]]
    assert service.get("/runs?module=nothing").json() == {
        "items": [],
        "next": None,
        "total": 0,
        "total_is_capped": False,
    }
    for query in ("status=odd", "next=odd", "limit=0", "modul=a"):
        assert_problem(service.get(f"/runs?{query}"), 400, "invalid_request")
    unknown = f"/runs/{uuid.uuid4()}"
    for address in (unknown, f"{unknown}/schemas", f"{unknown}/events"):
        assert_problem(service.get(address), 404, "run_unknown")
    for verb in ("cancel", "retry"):
        assert_problem(service.post(f"{unknown}/{verb}"), 404, "run_unknown")


def test_an_idempotency_key_returns_its_run(service: Any, repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 2")
    repo.write("other", _001_a=TABLE)
    service.sync()
    key = {"Idempotency-Key": "deploy-1"}
    first = service.post("/modules/m/migrate", headers=key, json={"target": "001"}).json()
    again = service.post("/modules/m/migrate", headers=key, json={"target": "001", "wait_s": 7}).json()
    assert again == first
    assert first["run_id"] is not None
    for address, body in (("/modules/m/migrate", {}), ("/modules/other/migrate", {"target": "001"})):
        problem = assert_problem(service.post(address, headers=key, json=body), 422, "idempotency_key_reused")
        assert problem["run_id"] == first["run_id"]
    assert service.get("/modules/m").json()["pending"] == 1
    # A failure that a retry would not fix is returned again.
    repo.write("m", _002_b="SELECT 1 / 0")
    key = {"Idempotency-Key": "deploy-2"}
    answers = [service.post("/modules/m/migrate", headers=key) for _ in range(2)]
    first, again = (answer.json() for answer in answers)
    assert again.pop("detail").startswith(first.pop("detail"))
    assert first == again
    assert answers[0].status_code == 422


def test_an_idempotency_key_does_not_pin_a_transient_failure(start: Callable[..., Any], repo: Any) -> None:
    refused = "DO $$ BEGIN RAISE EXCEPTION 'locked' USING ERRCODE = 'lock_not_available'; END $$"
    repo.write("m", _001_a=refused)
    key = {"Idempotency-Key": "deploy-3"}
    service = start(lock_wait_s=0)
    answers = [service.post("/modules/m/migrate", headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[0].json()["run_id"] != answers[1].json()["run_id"]


def test_concurrent_requests_with_one_key_make_one_run(service: Any, start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT pg_sleep(0.3)")
    service.sync()
    services = [service, start()]
    with ThreadPoolExecutor(8) as threads:
        calls = [
            threads.submit(services[n % 2].post, "/modules/m/migrate", headers={"Idempotency-Key": "k"})
            for n in range(8)
        ]
        runs = {call.result().json()["run_id"] for call in calls}
    assert len(runs) == 1


def test_a_moved_bundle_or_plan_is_refused(service: Any, repo: Any, eventually: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    digest = service.get("/modules/m").json()["digest"]
    repo.write("m", _002_b="SELECT 2")
    problem = assert_problem(service.post("/modules/m/migrate", json={"bundle": digest}), 409, "bundle_moved")
    plan = service.get("/modules/m/plan").json()["digest"]
    result = service.post("/modules/m/migrate", json={"bundle": problem["current_bundle"], "plan": plan}).json()
    assert result["status"] == "success"
    assert_problem(service.post("/modules/m/migrate", json={"plan": plan}), 409, "plan_moved")
    assert service.get(f"/runs/{result['run_id']}").json()["bundle"] == problem["current_bundle"]


@pytest.mark.parametrize("body", [{"canary": -1}, {"on_failure": "perhaps"}, {"wait_s": -1}, {"schemas": []}])
def test_invalid_options_are_refused(service: Any, repo: Any, body: dict[str, Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    assert_problem(service.post("/modules/m/migrate", json=body), 400, "invalid_request")


class TestCancelling:
    @pytest.mark.parametrize("through", [0, 1])
    def test_the_statement_ends_and_what_was_done_stays(
        self,
        service: Any,
        start: Callable[..., Any],
        repo: Any,
        sql: Callable[..., Any],
        eventually: Callable[..., Any],
        through: int,
    ) -> None:
        """From either replica, whichever of the two does the work."""
        repo.write("m", _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1); SELECT pg_sleep(60)")
        service.sync()
        services = [service, start()]
        with ThreadPoolExecutor(1) as threads:
            call = threads.submit(services[0].post, "/modules/m/migrate")
            eventually(lambda: sql(SLEEPING))
            (run,) = services[0].get("/runs").json()["items"]
            cancelled = services[through].post(f"/runs/{run['id']}/cancel")
            assert (cancelled.status_code, cancelled.json()["id"]) == (200, run["id"])
            problem = assert_problem(call.result(), 409, "run_cancelled")
        assert problem["run_id"] == run["id"]
        assert sql(SLEEPING) == []
        assert sql("SELECT * FROM m.t") == []
        assert [row["filename"] for row in sql("SELECT filename FROM m.schema_migrations")] == ["001_a.sql"]
        shown = services[through].get(f"/runs/{run['id']}").json()
        assert (shown["status"], shown["schemas"][0]["status"]) == ("cancelled", "cancelled")
        assert [one["filename"] for one in shown["schemas"][0]["steps"]] == ["001_a.sql"]
        assert_problem(services[through].post(f"/runs/{run['id']}/cancel"), 409, "run_ended")

    def test_outside_a_transaction_the_outcome_is_known(
        self, service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
    ) -> None:
        repo.write("m", _001_a="-- pgdbm:no-transaction\nCREATE TABLE {{tables.t}} ();\nSELECT pg_sleep(60)")
        service.sync()
        address = submitted(service, "m")
        eventually(lambda: sql(SLEEPING))
        service.post(f"{address}/cancel")
        assert ended(service, address, eventually)["status"] == "cancelled"
        journal = service.get("/modules/m/journal").json()["items"]
        assert [(one["statement"], one["event"]) for one in journal] == [(2, "failed"), (1, "applied")]

    def test_a_run_that_waits_for_a_slot(
        self, start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
    ) -> None:
        names = ["a", "b", "c", "d"]
        for name in names:
            repo.write(name, _001_a="SELECT pg_sleep(60)")
        service = start(max_connections=3)
        addresses = [submitted(service, name) for name in names]
        eventually(lambda: sql(SLEEPING))
        for address in addresses[::-1]:
            service.post(f"{address}/cancel")
        assert {ended(service, address, eventually)["status"] for address in addresses} == {"cancelled"}
        assert sql("SELECT FROM pg_tables WHERE schemaname = 'd' AND tablename <> 'schema_migrations'") == []


TENANTS = [f"tenant_{number}" for number in range(6)]
TOML = f"schemas = {TENANTS}".replace("'", '"')


def give(sql: Callable[..., Any], tenants: list[str]) -> None:
    """The objects that the test's migrations need in a schema."""
    for tenant in tenants:
        sql(f"CREATE SCHEMA IF NOT EXISTS {tenant}")
        sql(f"CREATE TABLE {tenant}.given AS SELECT 1")


class TestManySchemas:
    def test_all_of_them(self, service: Any, repo: Any, sql: Callable[..., Any]) -> None:
        repo.write("m", TOML, _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1)")
        service.sync()
        result = service.post("/modules/m/migrate").json()
        assert (result["status"], result["total"], result["skipped"]) == ("success", 12, 0)
        assert result["schema_counts"] | {"total": 6, "succeeded": 6} == result["schema_counts"]
        assert [one["schema"] for one in result["applied"]] == sorted(TENANTS * 2)
        for tenant in TENANTS:
            assert len(sql(f"SELECT FROM {tenant}.t")) == 1
        again = service.post("/modules/m/migrate").json()
        assert (again["status"], again["run_id"], again["skipped"]) == ("up_to_date", None, 12)

    def test_only_schemas_with_something_pending_run(self, service: Any, repo: Any, sql: Callable[..., Any]) -> None:
        repo.write("m", TOML, _001_a=TABLE)
        service.sync()
        some = service.post("/modules/m/migrate", json={"schemas": TENANTS[:2]}).json()
        assert some["schema_counts"]["total"] == 2
        rest = service.post("/modules/m/migrate").json()
        assert [one["schema"] for one in rest["applied"]] == TENANTS[2:]
        assert_problem(service.post("/modules/m/migrate", json={"schemas": ["else"]}), 400, "invalid_request")

    def test_the_canary_stops_everything(
        self, service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
    ) -> None:
        repo.write("m", TOML, _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} SELECT 1 FROM {{tables.given}}")
        give(sql, TENANTS[:1])
        service.sync()
        body = {"canary": 2, "on_failure": "continue"}
        problem = assert_problem(service.post("/modules/m/migrate", json=body), 422, "migration_failed")
        assert (problem["schema"], problem["sqlstate"]) == ("tenant_1", "42P01")
        run = service.get(f"/runs/{problem['run_id']}").json()
        counts = {"succeeded": 1, "failed": 1, "not_reached": 4, "queued": 0, "running": 0}
        assert run["schema_counts"] | counts == run["schema_counts"]
        assert sql("SELECT FROM pg_namespace WHERE nspname = 'tenant_2'") == []
        listed = service.get(f"/runs/{run['id']}/schemas?limit=4").json()
        assert [one["schema"] for one in listed["items"]] == TENANTS[:4]
        rest = service.get(f"/runs/{run['id']}/schemas?limit=4&next={listed['next']}").json()
        assert ([one["schema"] for one in rest["items"]], rest["next"]) == (TENANTS[4:], None)
        # The cause is fixed: the canary succeeds, and the others follow.
        give(sql, TENANTS[1:])
        assert service.post("/modules/m/migrate", json=body).json()["schema_counts"]["succeeded"] == 5

    def test_failed_schemas_are_retried(self, service: Any, repo: Any, sql: Callable[..., Any]) -> None:
        repo.write("m", TOML, _001_a="CREATE TABLE {{tables.t}} AS TABLE {{tables.given}}")
        give(sql, TENANTS[::2])
        service.sync()
        problem = assert_problem(
            service.post("/modules/m/migrate", json={"on_failure": "continue"}), 422, "migration_failed"
        )
        failed = service.get(f"/runs/{problem['run_id']}/schemas?status=failed").json()["items"]
        assert [one["schema"] for one in failed] == TENANTS[1::2]
        assert {one["problem"]["sqlstate"] for one in failed} == {"42P01"}
        give(sql, TENANTS[1::2])
        retried = service.post(f"/runs/{problem['run_id']}/retry").json()
        assert [one["schema"] for one in retried["applied"]] == TENANTS[1::2]
        run = service.get(f"/runs/{retried['run_id']}").json()
        assert (run["retry_of"], run["schema_counts"]["total"]) == (problem["run_id"], 3)
        assert_problem(service.post(f"/runs/{run['id']}/retry"), 409, "run_not_retryable")

    def test_stopping_at_the_first_failure(self, start: Callable[..., Any], repo: Any) -> None:
        tenants = [f"tenant_{number:03}" for number in range(120)]
        repo.write("m", f"schemas = {tenants}".replace("'", '"'), _001_a="SELECT 1 / 0")
        service = start(max_connections=3)
        problem = assert_problem(service.post("/modules/m/migrate"), 422, "migration_failed")
        counts = service.get(f"/runs/{problem['run_id']}").json()["schema_counts"]
        assert counts["failed"] >= 1
        assert counts["not_reached"] >= 100
        assert counts["failed"] + counts["not_reached"] == 120


def test_a_role_of_the_module_runs_its_sql(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    role = f"owner_{uuid.uuid4().hex[:12]}"
    sql(f"CREATE ROLE {role}")
    try:
        repo.write("m", f'role = "{role}"', _001_a="CREATE TABLE {{tables.t}} AS SELECT current_user::text AS who")
        service.sync()
        assert service.post("/modules/m/migrate").json()["status"] == "success"
        assert [row["who"] for row in sql("SELECT who FROM m.t")] == [role]
        assert sql("SELECT FROM m.schema_migrations WHERE applied_by = current_user")
    finally:
        sql(f"DROP OWNED BY {role} CASCADE")
        sql(f"DROP ROLE {role}")


def test_the_queue_is_emptied(service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    service.post("/modules/m/migrate")
    eventually(lambda: not sql("SELECT FROM pgdbm_service.pgqueuer"))
    assert service.get("/runs?status=running").json()["items"] == []


@pytest.mark.usefixtures("service")
def test_the_queue_tables_match_pgqueuer(database: str) -> None:
    from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver

    async def plan() -> Any:
        pool = await AsyncDatabaseManager.create_shared_pool(DatabaseConfig(connection_string=database))
        try:
            return await queries_over(AsyncpgPoolDriver(pool)).plan_upgrade()
        finally:
            await pool.close()

    assert tuple(asyncio.run(plan()).statements) == ()
    assert SETTINGS.db_schema == "pgdbm_service"
