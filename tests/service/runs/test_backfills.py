"""Backfills in the service: in the background of a module, in many schemas, paused and limited over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgdbm_service.commands.backfills import backfill as backfill_command
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

_ROWS = 300
ORDERS = f"""
CREATE TABLE {{{{tables.orders}}}} (id bigint PRIMARY KEY, touched int NOT NULL DEFAULT 0);
INSERT INTO {{{{tables.orders}}}} (id) SELECT n FROM generate_series(1, {_ROWS}) AS n;
"""
FILL = """-- pgdbm:backfill table={{tables.orders}} key=id batch=20 target=20ms background
UPDATE {{tables.orders}} SET touched = touched + 1 WHERE id BETWEEN $from AND $to;
"""
SWITCH = "-- pgdbm:requires 012_fill\nALTER TABLE {{tables.orders}} ADD CHECK (touched = 1)"
ONCE = "SELECT count(*) FILTER (WHERE touched = 1) AS once, count(*) AS all FROM {}.orders"


def write(repo: Any, toml: str | None = None, **files: str) -> None:
    written = {"_001_orders": ORDERS, "_012_fill": FILL, "_013_after": "CREATE TABLE {{tables.after}} (id int)"}
    repo.write("m", toml, **(written | files))


def runs(service: Any, **query: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = service.get("/runs", params={"module": "m"} | query).json()["items"]
    return items


def state(service: Any) -> str:
    answer: str = service.get("/modules/m").json()["state"]
    return answer


def background_run(service: Any, eventually: Callable[..., Any]) -> str:
    """The id of the run that executes the backfill."""
    found = eventually(
        lambda: [
            one["id"] for one in runs(service) if service.get(f"/runs/{one['id']}").json()["options"]["background"]
        ]
    )
    return str(found[0])


def test_the_run_does_not_wait_for_a_backfill_in_the_background(
    service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    write(repo, _014_switch=SWITCH)
    service.sync()
    paused = service.post("/modules/m/backfills/012_fill.sql", json={"paused": True}).json()
    assert (paused["filename"], paused["schema"], paused["paused"]) == ("012_fill.sql", "m", True)
    result = service.post("/modules/m/migrate").json()
    assert result["status"] == "success"
    assert [one["filename"] for one in result["applied"]] == ["001_orders.sql", "013_after.sql"]
    assert (result["skipped"], result["total"]) == (0, 2)
    assert service.get(f"/runs/{result['run_id']}").json()["status"] == "succeeded"

    run = background_run(service, eventually)
    (reason,) = eventually(
        lambda: [
            one["progress"]["reason"]
            for one in service.get(f"/runs/{run}").json()["schemas"]
            if (one.get("progress") or {}).get("reason")
        ]
    )
    assert reason == "it was paused"
    detail = service.get("/modules/m").json()
    assert (detail["state"], detail["pending"], detail["active_run"]) == ("backfilling", 0, run)
    listed = {one["filename"]: one for one in service.get("/modules/m/migrations").json()["items"]}
    assert (listed["012_fill.sql"]["state"], listed["012_fill.sql"]["waits_for"]) == ("backfilling", None)
    assert (listed["014_switch.sql"]["state"], listed["014_switch.sql"]["waits_for"]) == ("pending", "012_fill.sql")
    assert service.get("/modules/m/ready").status_code == 200
    assert service.get("/modules/m/ready", params={"require": "014"}).status_code == 503

    # Later files are applied while it runs, and no second run executes it.
    write(repo, _014_switch=SWITCH, _015_more="CREATE TABLE {{tables.more}} (id int)")
    service.sync()
    more = service.post("/modules/m/migrate").json()
    assert [one["filename"] for one in more["applied"]] == ["015_more.sql"]

    limited = service.post("/modules/m/backfills/012_fill", json={"rate": 100_000, "paused": False}).json()
    assert (limited["rate"], limited["paused"]) == (100_000, False)
    eventually(lambda: service.get(f"/runs/{run}").json()["status"] == "succeeded")
    eventually(lambda: state(service) == "up_to_date")
    assert [dict(row) for row in sql(ONCE.format("m"))] == [{"once": _ROWS, "all": _ROWS}]
    ended = service.get(f"/runs/{run}/schemas").json()["items"][0]
    assert [one["filename"] for one in ended["steps"]][:2] == ["012_fill.sql", "014_switch.sql"]
    (listed_backfill,) = service.get("/modules/m/backfills").json()["items"]
    assert listed_backfill["processed_rows"] == _ROWS
    assert listed_backfill["ended_at"] is not None
    eventually(lambda: not runs(service, status="running") and not runs(service, status="queued"))
    assert service.post("/modules/m/migrate").json()["run_id"] is None


def test_the_events_of_a_run_have_the_progress_of_a_backfill(
    service: Any, repo: Any, eventually: Callable[..., Any]
) -> None:
    write(repo)
    service.sync()
    service.post("/modules/m/migrate")
    run = background_run(service, eventually)
    text = service.get(f"/runs/{run}/events").text
    assert '"kind":"run_ended"' in text or "event: run_ended" in text
    assert '"command":"BACKFILL"' in text
    assert f'"rows":{_ROWS}' in text
    assert '"percent":100.0' in text


def test_a_migrate_can_run_the_backfills_itself(service: Any, repo: Any, sql: Callable[..., Any]) -> None:
    write(repo)
    service.sync()
    result = service.post("/modules/m/migrate", json={"background": True}).json()
    assert [one["filename"] for one in result["applied"]] == ["001_orders.sql", "012_fill.sql", "013_after.sql"]
    assert [dict(row) for row in sql(ONCE.format("m"))] == [{"once": _ROWS, "all": _ROWS}]
    assert len(runs(service)) == 1


def test_a_cancelled_backfill_continues_with_the_next_migrate(
    service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    write(repo)
    service.sync()
    service.post("/modules/m/backfills/012_fill.sql", json={"paused": True})
    service.post("/modules/m/migrate")
    run = background_run(service, eventually)
    service.post(f"/runs/{run}/cancel")
    eventually(lambda: service.get(f"/runs/{run}").json()["status"] == "cancelled")
    assert state(service) == "backfilling"
    service.post("/modules/m/backfills/012_fill.sql", json={"paused": False})
    assert service.post("/modules/m/migrate").json()["status"] == "up_to_date"
    eventually(lambda: state(service) == "up_to_date")
    assert [dict(row) for row in sql(ONCE.format("m"))] == [{"once": _ROWS, "all": _ROWS}]


def test_a_backfill_that_ends_its_own_session_fails(
    service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """It continues by itself once: the second time at the same batch is no outage."""
    ending = FILL.replace("touched + 1", "touched + pg_terminate_backend(pg_backend_pid())::int")
    repo.write("m", _001_orders=ORDERS, _012_fill=ending)
    service.sync()
    service.post("/modules/m/migrate")
    run = background_run(service, eventually)
    eventually(lambda: service.get(f"/runs/{run}").json()["status"] == "failed")
    found = service.get(f"/runs/{run}").json()
    assert found["problem"]["code"] == "migration_failed"
    assert found["problem"]["filename"] == "012_fill.sql"
    requeued = [row["data"] for row in sql("SELECT data FROM pgdbm_service.run_events WHERE kind = 'requeued'")]
    assert len(requeued) == 1
    assert '"reason": "database_unavailable"' in str(requeued[0])


def test_a_module_in_several_schemas_is_backfilled_in_each(
    service: Any, repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    schemas = [f"t{number}" for number in range(6)]
    write(repo, f"schemas = {schemas}".replace("'", '"'))
    service.sync()
    result = service.post("/modules/m/migrate").json()
    assert result["schema_counts"]["succeeded"] == len(schemas)
    run = background_run(service, eventually)
    eventually(lambda: service.get(f"/runs/{run}").json()["status"] == "succeeded")
    for schema in schemas:
        assert [dict(row) for row in sql(ONCE.format(schema))] == [{"once": _ROWS, "all": _ROWS}]
    eventually(lambda: state(service) == "up_to_date")


def test_what_is_no_backfill_cannot_be_changed(service: Any, repo: Any) -> None:
    write(repo)
    service.sync()
    assert_problem(service.post("/modules/m/backfills/013_after.sql", json={"paused": True}), 404, "migration_unknown")
    assert_problem(service.post("/modules/m/backfills/012_fill.sql", json={}), 400, "invalid_request")
    service.post("/modules/m/migrate", json={"background": True})
    assert_problem(service.post("/modules/m/backfills/012_fill.sql", json={"paused": True}), 422, "migration_error")


def test_the_command(
    service: Any,
    repo: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(repo)
    service.sync()
    monkeypatch.setenv("PGDBM_SERVER", service.url)
    assert backfill_command.main(["m", "012_fill", "--pause", "--rate", "50"], standalone_mode=False) == 0
    assert "012_fill.sql  paused" in capsys.readouterr().out
    assert backfill_command.main(["m", "012_fill", "--resume"], standalone_mode=False) == 0
    service.post("/modules/m/migrate", json={"background": True})
    assert backfill_command.main(["m"], standalone_mode=False) == 0
    assert f"012_fill.sql  applied  {_ROWS} rows" in capsys.readouterr().out
