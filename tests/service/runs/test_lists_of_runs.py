"""GET /runs and GET /modules: what their items show, filters, totals."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgdbm.core.templating import render_query
from pgdbm_service.client import Client
from pgdbm_service.database.sql import statement
from pgdbm_service.runs.queries import RunFilter, condition_of

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
ASYNC = {"Prefer": "respond-async"}


def ids(service: Any, query: str) -> list[str]:
    answer = service.get(f"/runs?{query}")
    assert answer.status_code == 200, answer.text
    page = answer.json()
    assert (page["total"], page["total_is_capped"]) == (len(page["items"]), False)
    return [one["id"] for one in page["items"]]


def test_items_say_how_long_a_run_took_why_it_failed_and_in_how_many_schemas(service: Any, repo: Any, sql: Any) -> None:
    repo.write("fleet", 'schemas = ["s_1", "s_2", "s_3"]', _001_a=TABLE)
    service.sync()
    sql("CREATE SCHEMA s_2")
    sql("CREATE TABLE s_2.t ()")
    problem = service.post("/modules/fleet/migrate", json={"on_failure": "continue"}).json()
    (item,) = service.get("/runs").json()["items"]
    assert (item["id"], item["status"]) == (problem["run_id"], "failed")
    assert item["problem_code"] == problem["code"] == "migration_failed"
    assert problem["detail"].startswith(item["detail"])
    counts = {name: number for name, number in item["schema_counts"].items() if number}
    assert counts == {"total": 3, "succeeded": 2, "failed": 1}
    # The counts at its end are those of the run itself.
    run = service.get(f"/runs/{item['id']}").json()
    assert item["schema_counts"] == run["schema_counts"]
    assert run["problem_code"] == "migration_failed"
    assert item["duration_ms"] == run["duration_ms"] > 0
    assert item["progress"] is None


def test_an_active_run_shows_its_progress_and_its_module_refers_to_it(
    service: Any, repo: Any, database: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a=TABLE)
    service.sync()
    first = service.post("/modules/m/migrate").json()["run_id"]
    repo.write("m", _002_b="ALTER TABLE {{tables.t}} ADD COLUMN n integer")
    service.sync()
    (module,) = service.get("/modules").json()["items"]
    assert (module["last_run"], module["last_run_status"], module["active_run"]) == (first, "succeeded", None)
    with psycopg.connect(database, application_name="billing-worker") as holder:
        holder.execute("LOCK TABLE m.t IN ACCESS SHARE MODE")
        second = service.post("/modules/m/migrate", headers=ASYNC).json()["id"]

        def blocked() -> Any:
            item = service.get("/runs?limit=1").json()["items"][0]
            return (item["progress"] or {}).get("waiting_for") and item

        item = eventually(blocked)
        assert (item["id"], item["status"], item["schema"]) == (second, "running", "m")
        assert item["progress"]["filename"] == "002_b.sql"
        assert item["progress"]["waiting_for"][0]["application_name"] == "billing-worker"
        assert item["schema_counts"] | {"total": 1, "running": 1} == item["schema_counts"]
        for module in (service.get("/modules").json()["items"][0], service.get("/modules/m").json()):
            assert (module["last_run"], module["last_run_status"]) == (second, "running")
            assert module["active_run"] == second
    eventually(lambda: service.get("/modules/m").json()["active_run"] is None)
    assert service.get("/modules/m").json()["last_run_status"] == "succeeded"


def test_runs_are_filtered(service: Any, repo: Any) -> None:
    repo.write("a", _001_a=TABLE)
    repo.write("b", 'schemas = ["b_1", "b_2"]', _001_a=TABLE)
    service.sync()
    a = service.post("/modules/a/migrate").json()["run_id"]
    b = service.post("/modules/b/migrate").json()["run_id"]
    repo.write("a", _002_b="SELECT 1 / 0")
    service.sync()
    failed = service.post("/modules/a/migrate").json()["run_id"]
    assert ids(service, "status=succeeded,failed") == [failed, b, a]
    assert ids(service, "status=succeeded&status=failed") == [failed, b, a]
    assert ids(service, "status=queued") == []
    assert ids(service, "module=a&status=succeeded") == [a]
    assert ids(service, "module=a,b&status=succeeded") == [b, a]
    assert ids(service, "schema=b_2") == [b]
    assert ids(service, "created_by=anonymous") == [failed, b, a]
    assert ids(service, "created_by=token:other") == []
    assert ids(service, "since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z") == []
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    assert ids(service, f"until={tomorrow}&module=b") == [b]
    assert ids(service, f"since={tomorrow}") == []
    with Client(service.url) as client:
        found = client.list_runs(status=["succeeded", "failed"], schema="a", since=datetime(2020, 1, 1, tzinfo=UTC))
        assert [str(run.id) for run in found] == [failed, a]


def test_a_total_counts_among_the_newest_ten_thousand(service: Any, sql: Any) -> None:
    def counted(query: str) -> tuple[int, int, bool]:
        page = service.get(f"/runs?limit=2{query}").json()
        return len(page["items"]), page["total"], page["total_is_capped"]

    insert = """
        INSERT INTO pgdbm_service.runs (id, module, options, digest, created_by, status)
        SELECT gen_random_uuid(), $1, '{}', n::text, 'x', 'succeeded' FROM generate_series(1, $2::int) n"""
    sql(insert, "a", 10_000)
    assert counted("&module=a") == (2, 10_000, False)
    sql(insert, "b", 3)
    assert counted("") == (2, 10_000, True)
    assert counted("&module=b") == (2, 3, True)
    assert counted("&module=a") == (2, 9_998, True)


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(("statuses", "found"), [("failed", 10), ("failed,cancelled", 20), ("held", 0)])
def test_the_few_runs_that_did_not_succeed_are_found_by_an_index(
    service: Any, sql: Any, database: str, statuses: str, found: int, mode: str
) -> None:
    sql(
        "INSERT INTO pgdbm_service.runs (id, module, status, options, digest, created_by, ended_at) "
        "SELECT gen_random_uuid(), 'm', CASE n % 2000 WHEN 7 THEN 'failed' WHEN 8 THEN 'cancelled' ELSE 'succeeded' "
        "END, '{}', n, 'token:ci', now() FROM generate_series(1, 20000) AS n"
    )
    sql("ANALYZE pgdbm_service.runs")
    asked = RunFilter(statuses=tuple(statuses.split(",")))
    page = render_query(statement("run_queries", "page", also=condition_of(asked)), "pgdbm_service")
    with psycopg.connect(database) as connection:
        connection.execute(f"SET plan_cache_mode = {mode}")
        connection.execute(f"PREPARE page AS {page}".encode())
        arguments = f"(NULL, NULL, '{{{statuses}}}', NULL, NULL, NULL, NULL, 50)"
        plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN EXECUTE page {arguments}".encode()))
        assert len(connection.execute(f"EXECUTE page {arguments}".encode()).fetchall()) == found
    # Whether its rows are read in order, or sorted, depends on the sample of ANALYZE.
    assert re.search("Index Scan (using|on) runs_not_succeeded", plan), plan
    assert "Seq Scan on runs" not in plan
    assert len(service.get(f"/runs?status={statuses}&limit=50").json()["items"]) == found
    # Without the condition of the index: most runs have the status.
    assert len(service.get(f"/runs?status={statuses},succeeded&limit=50").json()["items"]) == 50


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "/runs?status=over",
            "status: 'over' is not one of queued, waiting_for_approval, held, running, succeeded, failed, cancelled.",
        ),
        (
            "/runs?status=failed,over",
            "status: 'over' is not one of queued, waiting_for_approval, held, running, succeeded, failed, cancelled.",
        ),
        ("/runs?limit=1&limit=2", "limit: is given more than once."),
        ("/runs?schema=a&schema=b", "schema: is given more than once."),
        ("/modules?q=a&q=b", "q: is given more than once."),
    ],
)
def test_a_value_that_would_be_ignored_is_refused(service: Any, address: str, message: str) -> None:
    answer = service.get(address)
    assert (answer.status_code, answer.json()["detail"]) == (400, message)


def test_modules_are_filtered_and_counted(service: Any, repo: Any, sql: Any) -> None:
    for name in ("billing", "orders", "reorders"):
        repo.write(name, _001_a=TABLE)
    service.sync()
    service.post("/modules/orders/migrate")

    def found(query: str) -> tuple[list[str], int]:
        answer = service.get(f"/modules?{query}").json()
        return [one["name"] for one in answer["items"]], answer["total"]

    assert found("q=ORDERS") == (["orders", "reorders"], 2)
    assert found("state=pending") == (["billing", "reorders"], 2)
    assert found("state=pending,up_to_date&q=ord") == (["orders", "reorders"], 2)
    assert found("state=pending&state=changed&limit=1") == (["billing"], 2)
    page = service.get("/modules?state=pending&limit=1").json()
    assert found(f"state=pending&limit=1&next={page['next']}") == (["reorders"], 2)
    assert found("state=unregistered") == ([], 0)
    assert service.get("/modules/orders/schemas").json()["total"] == 1
    assert service.get("/modules/orders/schemas?state=pending").json()["total"] == 0
    assert "is not one of" in service.get("/modules?state=odd").json()["detail"]
    with Client(service.url) as client:
        assert [one.name for one in client.list_modules(state=["pending", "failed"], q="bill")] == ["billing"]
