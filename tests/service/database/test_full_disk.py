"""The server has no disk space left: for a migration, and for the service's own rows. No restart is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.small_disk import small_disk

if TYPE_CHECKING:
    from collections.abc import Callable

MANY_ROWS = "INSERT INTO {{tables.t}} SELECT i, repeat('x', 500) FROM generate_series(1, 40000) i"
# A full disk, as the server reports it, for new and changed rows of the table.
FULL = """
CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device';
END $$;

CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON pgdbm_service.{table}
FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION public.refuse();
"""
FREE = "DROP FUNCTION public.refuse CASCADE"


def refused(answer: Any, code: str) -> dict[str, Any]:
    """The problem of a 503 that a retry can cure."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"], problem["sqlstate"]) == (503, code, "53100"), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert "No space left" in problem["database_message"]
    return problem


def test_a_tablespace_that_is_full(start: Callable[..., Any], repo: Any, postgres_dsn: str) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (i integer, x text)")
    with small_disk(postgres_dsn, megabytes=64) as disk:
        service = start(database_url=disk.dsn)
        assert service.post("/modules/m/migrate").status_code == 200
        repo.write("m", _002_b=MANY_ROWS)
        repo.write(
            "outside",
            _001_a=f"-- pgdbm:no-transaction\nCREATE TABLE {{{{tables.t}}}} (i integer, x text);\n{MANY_ROWS};",
        )
        service.sync()
        disk.fill()
        problem = refused(service.post("/modules/m/migrate"), "insufficient_resources")
        assert (problem["filename"], problem["statement"], problem["applied"]) == ("002_b.sql", 1, [])
        assert "Free space" in problem["hint"]
        run = service.get(f"/runs/{problem['run_id']}").json()
        assert (run["status"], run["problem"]["filename"]) == ("failed", "002_b.sql")
        answer = service.post("/modules/outside/migrate")
        assert answer.status_code == 503, answer.text
        assert answer.headers["retry-after"]
        assert service.ready()
        disk.free()
        for name in ("m", "outside"):
            assert service.post(f"/modules/{name}/migrate").json()["status"] == "success"
            assert service.get(f"/modules/{name}").json()["state"] == "up_to_date"


@pytest.mark.parametrize("table", ["runs", "modules", "tokens", "audit"])
def test_no_space_for_a_row_of_a_request(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any], table: str
) -> None:
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (i integer)")
    service = start()

    def calls() -> dict[str, Any]:
        files = {"migrations": [{"filename": "001_a.sql", "content": "SELECT 1"}]}
        return {
            "runs": service.post("/modules/m/migrate"),
            "all": service.post("/migrate"),
            "modules": service.client.put("/modules/other", json=files),
            "tokens": service.post("/tokens", json={"name": "new", "scopes": ["read"]}),
        }

    for statement in FULL.format(table=table).split("\n\n"):
        sql(statement)
    answers = calls()
    for name, answer in answers.items():
        if name == table or (table, name) == ("runs", "all"):
            problem = refused(answer, "database_unavailable")
            assert "is full" in problem["detail"]
            assert "needs no restart" in problem["detail"]
        else:
            assert answer.status_code < 300, answer.text
    sql(FREE)
    assert {answer.status_code for name, answer in calls().items() if name != "tokens"} <= {200, 201}
    # Every request has its entry, the refused ones too.
    eventually(lambda: sql("SELECT count(*) FROM pgdbm_service.audit")[0][0] == 8)


@pytest.mark.parametrize("table", ["run_events", "run_schemas", "run_steps", "pgqueuer"])
def test_no_space_for_the_rows_of_a_run(
    start: Callable[..., Any],
    repo: Any,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    table: str,
    watch: Any,
) -> None:
    """They are written once there is space: the migration runs once, and its run ends."""
    repo.write("m", _001_a="SELECT pg_sleep(1)", _002_b="CREATE TABLE {{tables.t}} (i integer)")
    service = start()
    run = service.post("/modules/m/migrate", headers={"Prefer": "respond-async"}).json()["id"]
    sleeping = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    eventually(lambda: sql(sleeping))
    for statement in FULL.format(table=table).split("\n\n"):
        sql(statement)
    assert service.get(f"/runs/{run}").json()["status"] == "running"
    eventually(lambda: "a row is not written yet" in watch.logged() or "progress not written" in watch.logged())
    sql(FREE)
    eventually(lambda: service.get(f"/runs/{run}").json()["status"] == "succeeded")
    assert len(sql("SELECT FROM m.schema_migrations")) == 2
