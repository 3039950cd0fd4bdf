"""The database is unavailable at the start or later, stops responding, and returns; the service is not restarted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from pgdbm_service.database.pool import Database
from pgdbm_service.runs.child_runs import ChildRuns
from pgdbm_service.runs.notifier import Notifier
from pgdbm_service.runs.queries import RunQueries
from pgdbm_service.runs.streams import RunStreams
from pgdbm_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

READS = ("/modules", "/modules/m", "/modules/m/migrations", "/modules/m/history", "/schemas", "/schemas/public")


def assert_unavailable(service: Any) -> None:
    assert service.get("/health/live").status_code == 200
    ready = service.get("/health/ready")
    assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
    checks = {check["name"]: check for check in ready.json()["checks"]}
    assert checks["database"]["ok"] is False
    assert checks["database"]["detail"]
    assert checks["accepting_migrations"]["ok"] is True
    answers = [service.get(path) for path in READS]
    answers += [service.post("/modules/m/migrate"), service.post("/migrate")]
    answers += [service.post("/modules/m/migrate", json={"dry_run": True})]
    for response in answers:
        assert response.headers["content-type"] == "application/problem+json"
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable"), response.text
        assert 2 <= int(response.headers["retry-after"]) <= 5


def test_the_service_starts_without_a_database(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    proxy.cut()
    service = start(database_url=proxied, wait=False)
    assert_unavailable(service)
    proxy.restore()
    eventually(service.ready)
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_the_service_recovers_from_a_lost_database(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=proxied)
    assert service.post("/modules/m/migrate").status_code == 200
    proxy.cut()
    assert_unavailable(service)
    proxy.restore()
    eventually(service.ready)
    assert service.get("/modules").json()["items"][0]["state"] == "up_to_date"


def test_an_unresponsive_network_times_out(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=proxied, database_timeout_s=0.5)
    proxy.stall()
    assert_unavailable(service)
    proxy.resume()
    eventually(service.ready)
    assert service.post("/modules/m/migrate").status_code == 200


def test_the_service_starts_with_an_unresponsive_database(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    proxy.stall()
    service = start(database_url=proxied, database_timeout_s=0.3, wait=False)
    assert_unavailable(service)
    proxy.resume()
    eventually(service.ready)


def test_terminated_backends_are_replaced(
    start: Callable[..., Any], sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    service = start()
    service.get("/schemas")
    ours = "WHERE application_name = 'pgdbm_service' AND datname = current_database()"
    ended = sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity {ours}")
    assert ended
    for _ in range(len(ended) + 1):
        response = service.get("/schemas")
        assert response.status_code == 200 or response.json()["code"] == "database_unavailable"
    eventually(service.ready)


def test_a_migration_on_a_terminated_backend_fails_and_can_be_repeated(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer)", _002_b="SELECT pg_sleep(60)")
    service = start()
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(service.post, "/modules/m/migrate")
        sleeping = "FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        eventually(lambda: sql(f"SELECT {sleeping}"))
        sql(f"SELECT pg_terminate_backend(pid) {sleeping}")
        response = call.result()
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable"), response.text
    repo.write("m", _002_b="SELECT 2")
    result = service.post("/modules/m/migrate").json()
    assert [one["filename"] for one in result["applied"]] == ["002_b.sql"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@127.0.0.1:1/x",
        "postgresql://postgres:hunter2@127.0.0.1:1/x?password=hunter2",
    ],
)
def test_answers_and_logs_show_no_password(
    start: Callable[..., Any], capfd: pytest.CaptureFixture[str], url: str
) -> None:
    service = start(database_url=url, wait=False, log_level="debug")
    answers = [service.get(path).text for path in ("/health/ready", "/modules", "/schemas")]
    log = capfd.readouterr().err
    assert "connecting" in log
    assert "hunter2" not in log + "".join(answers)


def test_an_open_stream_waits_for_the_database(start: Callable[..., Any], repo: Any, proxy: Any, proxied: str) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start()
    run = UUID(service.post("/modules/m/migrate").json()["run_id"])

    async def follow() -> list[str]:
        database = Database(Settings(database_url=proxied))
        database.begin(proxied)
        await database.connected.wait()
        proxy.cut()
        feeds = RunStreams(RunQueries(database, ChildRuns(database)), Notifier(database))
        received = asyncio.create_task(listen(feeds))
        await asyncio.sleep(0.3)
        assert not received.done()
        proxy.restore()
        try:
            return await received
        finally:
            await feeds.close()
            await database.close()

    async def listen(feeds: RunStreams) -> list[str]:
        return [event.kind async for events in feeds.events(run, 0, 1) for event in events]

    assert asyncio.run(follow())[-1] == "run_ended"


def test_a_run_survives_a_lost_connection(
    start: Callable[..., Any],
    repo: Any,
    proxy: Any,
    proxied: str,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
) -> None:
    """It ends with the right status; runs in the queue are processed when the database is available again."""
    repo.write("m", _001_a="CREATE TABLE {{tables.t}} (id integer)", _002_b="SELECT pg_sleep(1.5)")
    repo.write("waiting", _001_a="SELECT 1")
    service = start(database_url=proxied, max_connections=3)
    asynchronously = {"Prefer": "respond-async"}
    addresses = [
        service.post(f"/modules/{name}/migrate", headers=asynchronously).headers["location"]
        for name in ("m", "waiting")
    ]
    eventually(
        lambda: sql("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")
    )
    proxy.cut()
    assert service.get(addresses[0]).json()["code"] == "database_unavailable"
    proxy.restore()

    def ended() -> list[dict[str, Any]] | None:
        runs = [service.get(address).json() for address in addresses]
        return runs if all(run.get("status") in ("succeeded", "failed") for run in runs) else None

    lost, waited = eventually(ended)
    assert waited["status"] == "succeeded"
    assert (lost["status"], lost["problem"]["code"]) == ("failed", "database_unavailable")
    assert [one["filename"] for one in lost["schemas"][0]["steps"]] == ["001_a.sql"]
    result = service.post("/modules/m/migrate").json()
    assert [one["filename"] for one in result["applied"]] == ["002_b.sql"]
