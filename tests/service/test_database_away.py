"""The database may be away at the start, go away, go silent, and come back; the service is never restarted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from pgdbm_service.database import Database
from pgdbm_service.errors import is_database_away
from pgdbm_service.runs.feeds import Feeds
from pgdbm_service.runs.listening import Listener
from pgdbm_service.runs.parts import Parts
from pgdbm_service.runs.reading import Reader
from pgdbm_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

READS = ("/modules", "/modules/m", "/modules/m/migrations", "/modules/m/history", "/schemas", "/schemas/public")


def assert_away(service: Any) -> None:
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


def test_away_at_the_start(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    proxy.cut()
    service = start(database_url=proxied, wait=False)
    assert_away(service)
    proxy.restore()
    eventually(service.ready)
    assert service.post("/modules/m/migrate").json()["status"] == "success"


def test_lost_and_found_again(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=proxied)
    assert service.post("/modules/m/migrate").status_code == 200
    proxy.cut()
    assert_away(service)
    proxy.restore()
    eventually(service.ready)
    assert service.get("/modules").json()["items"][0]["state"] == "up_to_date"


def test_a_silent_network_holds_nobody_up(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=proxied, database_timeout_s=0.5)
    proxy.silence()
    assert_away(service)
    proxy.speak()
    eventually(service.ready)
    assert service.post("/modules/m/migrate").status_code == 200


def test_silent_at_the_start(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    proxy.silence()
    service = start(database_url=proxied, database_timeout_s=0.3, wait=False)
    assert_away(service)
    proxy.speak()
    eventually(service.ready)


def test_backends_ended_by_an_operator(
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


def test_lost_under_a_migration(
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
        "postgresql://nobody:hunter2@127.0.0.1:1/x",
        "postgresql://postgres:hunter2@127.0.0.1:1/x?password=hunter2",
    ],
)
def test_no_password_in_answers_and_logs(
    start: Callable[..., Any], capfd: pytest.CaptureFixture[str], url: str
) -> None:
    service = start(database_url=url, wait=False, log_level="debug")
    answers = [service.get(path).text for path in ("/health/ready", "/modules", "/schemas")]
    log = capfd.readouterr().err
    assert "connecting" in log
    assert "hunter2" not in log + "".join(answers)


def test_a_stream_that_has_begun_waits(start: Callable[..., Any], repo: Any, proxy: Any, proxied: str) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start()
    run = UUID(service.post("/modules/m/migrate").json()["run_id"])

    async def follow() -> list[str]:
        database = Database(Settings(database_url=proxied))
        database.begin(proxied)
        await database.connected.wait()
        proxy.cut()
        feeds = Feeds(Reader(database, Parts(database)), Listener(database))
        heard = asyncio.create_task(listen(feeds))
        await asyncio.sleep(0.3)
        assert not heard.done()
        proxy.restore()
        try:
            return await heard
        finally:
            await feeds.close()
            await database.close()

    async def listen(feeds: Feeds) -> list[str]:
        return [event.kind async for event in feeds.events(run, 0, 1) if event is not None]

    assert asyncio.run(follow())[-1] == "run_ended"


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        # The server's goodbye came between two queries of one connection.
        (asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress"), True),
        (asyncpg.InternalClientError("PoolConnectionHolder.release() called on a free connection holder"), True),
        (asyncpg.InternalClientError("got result for unknown protocol state 3"), False),
        (asyncpg.TargetServerAttributeNotMatched("None of the hosts match"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (FileNotFoundError(2, "No such file", "001_a.sql"), False),
    ],
)
def test_what_means_that_the_database_is_away(error: Exception, is_away: bool) -> None:
    assert is_database_away(error) is is_away


def test_a_run_survives_what_its_connection_does_not(
    start: Callable[..., Any],
    repo: Any,
    proxy: Any,
    proxied: str,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
) -> None:
    """It ends, and says what is true; those that wait in the queue are worked on when the database is there again."""
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
    assert [one["filename"] for one in lost["steps"][0]["applied"]] == ["001_a.sql"]
    result = service.post("/modules/m/migrate").json()
    assert [one["filename"] for one in result["applied"]] == ["002_b.sql"]
