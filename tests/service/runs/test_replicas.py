"""Several replicas, most of them processes: killed, stopped, frozen; each migration is applied once, no run is lost."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pgdbm_service.client import Client

from ..conftest import Proxy
from ..event_streams import read
from ..running_service import http_get, http_post, http_stream

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE {{tables.t}} (id integer PRIMARY KEY)"
SLEEPING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
# Blocks a migration until the test releases it, however slow the machine is.
HELD = """
DO $$ BEGIN
  FOR turn IN 1..600 LOOP EXIT WHEN EXISTS (SELECT FROM public.release); PERFORM pg_sleep(0.1); END LOOP;
END $$"""
ASYNC = {"Prefer": "respond-async"}
SOON = {"PGDBM_TAKEOVER_S": "2"}


@pytest.fixture
def release(sql: Callable[..., Any]) -> Callable[[], Any]:
    """Call it to release what is HELD, now and later."""
    sql("CREATE TABLE public.release ()")
    return lambda: sql("INSERT INTO public.release DEFAULT VALUES")


def submitted(url: str, module: str = "m", **body: Any) -> str:
    response = http_post(f"{url}/modules/{module}/migrate", headers=ASYNC, json=body)
    assert response.status_code == 202, response.text
    return str(response.headers["location"])


def ended(url: str, address: str, eventually: Callable[..., Any]) -> dict[str, Any]:
    run: dict[str, Any] = eventually(
        lambda: (run := http_get(f"{url}{address}").json())["status"] not in ("queued", "running") and run
    )
    return run


class HeldRun(NamedTuple):
    """The path of a run, the process of the replica that works on it, and the URL of another replica."""

    path: str
    worker: Any
    other: str


@pytest.fixture
def begin_held_run(
    fork: Callable[..., Any], database: str, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> Callable[..., HeldRun]:
    """Starts two replicas with the settings given, and a run of the module m, and waits until that is HELD."""

    def begin(**settings: str) -> HeldRun:
        replicas = [fork(DATABASE_URL=database, **SOON, **settings) for _ in range(2)]
        # All of them are ready.
        url, *_ = [one.url() for one in replicas]
        path = submitted(url)
        eventually(lambda: sql(SLEEPING))
        instance = http_get(f"{url}{path}").json()["replica"]
        (row,) = sql("SELECT pid FROM pgdbm_service.replicas WHERE id = $1", instance)
        (worker,) = [one for one in replicas if one.popen.pid == row["pid"]]
        (other,) = [one for one in replicas if one is not worker]
        return HeldRun(path, worker, other.url())

    return begin


def test_a_run_of_a_killed_replica_is_taken_over(
    repo: Any,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    release: Callable[[], Any],
    begin_held_run: Callable[..., HeldRun],
) -> None:
    repo.write("m", _001_a=TABLE, _002_b=HELD + "; INSERT INTO {{tables.t}} VALUES (1)", _003_c="SELECT 3")
    address, worker, other = begin_held_run()
    proxy = Proxy("127.0.0.1", int(worker.url().rpartition(":")[2]))
    followed: list[int] = []

    def follow() -> None:
        with Client(f"http://127.0.0.1:{proxy.port}") as client:
            for event in client.follow(address.rpartition("/")[2]):
                followed.append(event.number)  # noqa: PERF401 - one by one, as they come

    with ThreadPoolExecutor(1) as threads:
        following = threads.submit(follow)
        eventually(lambda: followed)
        proxy.cut()
        worker.popen.kill()
        release()
        proxy.restore(("127.0.0.1", int(other.rpartition(":")[2])))
        with http_stream("GET", f"{other}{address}/events", timeout=60) as response:
            events = list(read(response))
        following.result()
    proxy.close()
    assert followed == [event.number for event in events]
    run = http_get(f"{other}{address}").json()
    assert (run["status"], run["attempts"], run["schemas"][0]["attempts"]) == ("succeeded", 2, 2)
    # What the killed replica applied belongs to the run, too.
    assert [one["filename"] for one in run["schemas"][0]["steps"]] == ["001_a.sql", "002_b.sql", "003_c.sql"]
    began = [event.data for event in events if event.kind == "schema_started"]
    assert [one["attempt"] for one in began] == [1, 2]
    assert began[0]["replica"] != began[1]["replica"]
    assert len(sql("SELECT * FROM m.t")) == 1
    history = http_get(f"{other}/modules/m/history").json()["items"]
    assert {one["run_id"] for one in history} == {run["id"]}


def test_a_stopping_replica_hands_its_run_over(
    repo: Any,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    release: Callable[[], Any],
    begin_held_run: Callable[..., HeldRun],
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1); " + HELD)
    address, worker, other = begin_held_run(PGDBM_SHUTDOWN_GRACE_S="0.3")
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(http_post, f"{one}/modules/m/migrate", timeout=60) for one in (worker.url(), other)]
        # Both have joined the run.
        time.sleep(1)
        worker.popen.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
        release()
        refused, done = (call.result() for call in calls)
    assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
    assert int(refused.headers["retry-after"]) > 0
    assert f"/runs/{refused.json()['run_id']}" == address
    assert (done.status_code, f"/runs/{done.json()['run_id']}") == (200, address)
    assert [one["filename"] for one in done.json()["applied"]] == ["001_a.sql", "002_b.sql"]
    assert len(sql("SELECT * FROM m.t")) == 1
    with http_stream("GET", f"{other}{address}/events", timeout=60) as response:
        requeued = [event.data for event in read(response) if event.kind == "requeued"]
    assert [one["reason"] for one in requeued] == ["shutting_down"]
    assert "Traceback" not in worker.err


def test_a_restarted_replica_continues_its_run(
    fork: Callable[..., Any],
    repo: Any,
    database: str,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    release: Callable[[], Any],
) -> None:
    repo.write("m", _001_a=TABLE, _002_b=HELD)
    repo.write("n", _001_a=TABLE)
    variables = {"DATABASE_URL": database, "PGDBM_SHUTDOWN_GRACE_S": "0.1"}
    process = fork(**variables)
    address = http_post(f"{process.url()}/migrate", headers=ASYNC).headers["location"]
    eventually(lambda: sql(SLEEPING))
    process.popen.send_signal(signal.SIGTERM)
    assert process.wait() == 0
    rows = {row["module"]: row["status"] for row in sql("SELECT module, status FROM pgdbm_service.runs")}
    assert rows == {"m": "queued", "*": "running"}
    assert sql("SELECT FROM pgdbm_service.replicas") == []
    release()
    again = fork(**variables).url()
    run = ended(again, address, eventually)
    assert [(child["module"], child["status"]) for child in run["modules"]] == [("m", "succeeded"), ("n", "succeeded")]
    assert len(http_get(f"{again}/runs").json()["items"]) == 3


def test_a_run_missing_from_the_queue_is_queued_again(
    fork: Callable[..., Any],
    repo: Any,
    database: str,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    release: Callable[[], Any],
) -> None:
    repo.write("m", _001_a=TABLE, _002_b=HELD)
    variables = {"DATABASE_URL": database, "PGDBM_SHUTDOWN_GRACE_S": "0"}
    process = fork(**variables)
    # A run of all modules, which waits for the run of one module.
    address = http_post(f"{process.url()}/migrate", headers=ASYNC).headers["location"]
    eventually(lambda: sql(SLEEPING))
    process.popen.send_signal(signal.SIGTERM)
    process.wait()
    release()
    assert sql("DELETE FROM pgdbm_service.pgqueuer RETURNING id")
    sql("UPDATE pgdbm_service.runs SET created_at = now() - interval '1 hour'")
    url = fork(**variables).url()
    assert ended(url, address, eventually)["status"] == "succeeded"


def test_a_redelivered_job_runs_once(
    start: Callable[..., Any],
    repo: Any,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    release: Callable[[], Any],
) -> None:
    """The queue considers the worker dead, although it is alive."""
    repo.write("m", _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1); " + HELD)
    url, _ = (start(takeover_s=2).url for _ in range(2))
    address = submitted(url)
    eventually(lambda: sql(SLEEPING))
    # The first time PgQueuer gives it to the replica that asks first; then to both of them.
    sql("UPDATE pgdbm_service.pgqueuer SET heartbeat = now() - interval '1 hour'")
    sql(
        "INSERT INTO pgdbm_service.pgqueuer (priority, status, entrypoint, payload) "
        "SELECT q.priority, 'queued', q.entrypoint, q.payload FROM pgdbm_service.pgqueuer q, generate_series(1, 4)"
    )
    eventually(lambda: len(sql("SELECT FROM pgdbm_service.pgqueuer WHERE attempts > 0")) >= 4)
    release()
    run = ended(url, address, eventually)
    assert (run["status"], run["schemas"][0]["attempts"]) == ("succeeded", 1)
    assert [one["filename"] for one in run["schemas"][0]["steps"]] == ["001_a.sql", "002_b.sql"]
    eventually(lambda: not sql("SELECT FROM pgdbm_service.pgqueuer"))
    assert len(sql("SELECT * FROM m.t")) == 1


def test_a_frozen_replica_that_resumes_does_no_harm(
    repo: Any,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    release: Callable[[], Any],
    begin_held_run: Callable[..., HeldRun],
) -> None:
    """Two replicas process the same item, and each believes that it owns it: the engine's lock decides."""
    repo.write("m", _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1); " + HELD, _003_c="SELECT 3")
    address, worker, other = begin_held_run()
    worker.popen.send_signal(signal.SIGSTOP)
    release()
    try:
        eventually(lambda: sql("SELECT FROM pgdbm_service.run_schemas WHERE attempts = 2"))
        # It holds the lock in an open transaction.
        time.sleep(1)
        assert [row["filename"] for row in sql("SELECT filename FROM m.schema_migrations")] == ["001_a.sql"]
    finally:
        worker.popen.send_signal(signal.SIGCONT)
    run = ended(other, address, eventually)
    assert run["status"] == "succeeded"
    assert [one["filename"] for one in run["schemas"][0]["steps"]] == ["001_a.sql", "002_b.sql", "003_c.sql"]
    assert len(sql("SELECT * FROM m.t")) == 1
    assert len(sql("SELECT FROM m.schema_migrations")) == 3


def test_a_replica_is_frozen_for_longer_than_others_wait_for_its_lock(
    repo: Any,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    release: Callable[[], Any],
    begin_held_run: Callable[..., HeldRun],
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1); " + HELD, _003_c="SELECT 3")
    address, worker, other = begin_held_run(PGDBM_LOCK_WAIT_S="1")
    worker.popen.send_signal(signal.SIGSTOP)
    try:
        # Each time the lock is still held by the backend of the first attempt.
        eventually(lambda: len(sql("SELECT FROM pgdbm_service.run_events WHERE kind = 'requeued'")) >= 2)
        release()
    finally:
        worker.popen.send_signal(signal.SIGCONT)
    run = ended(other, address, eventually)
    assert (run["status"], len(run["schemas"][0]["steps"])) == ("succeeded", 3), run["problem"]
    assert http_get(f"{other}/modules/m").json()["state"] == "up_to_date"


def test_many_schemas_are_spread_over_replicas(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    tenants = [f"tenant_{number:02}" for number in range(14)]
    toml = f"schemas = {tenants}".replace("'", '"')
    repo.write("m", toml, _001_a=TABLE, _002_b="INSERT INTO {{tables.t}} VALUES (1); SELECT pg_sleep(0.2)")
    url, _ = (start(takeover_s=2, max_connections=4).url for _ in range(2))
    run = ended(url, submitted(url), eventually)
    assert (run["status"], run["schema_counts"]["succeeded"]) == ("succeeded", 14)
    shares = sql("SELECT replica, count(*) AS share FROM pgdbm_service.run_schemas GROUP BY replica")
    assert len(shares) == 2
    assert min(row["share"] for row in shares) >= 2
    for tenant in tenants:
        assert len(sql(f"SELECT FROM {tenant}.t")) == 1


def test_a_run_that_kills_its_replicas_ends(
    fork: Callable[..., Any],
    repo: Any,
    database: str,
    sql: Callable[..., Any],
    eventually: Callable[..., Any],
    release: Callable[[], Any],
) -> None:
    repo.write("m", _001_a=TABLE, _002_b="SELECT 2; " + HELD, _003_c="SELECT 3")
    repo.write("other", _001_a=TABLE)
    process = fork(DATABASE_URL=database, **SOON)
    address = submitted(process.url())
    for attempt in (1, 2):
        eventually(lambda n=attempt: sql("SELECT FROM pgdbm_service.run_schemas WHERE attempts = $1", n))
        eventually(lambda: sql(SLEEPING))
        process.popen.kill()
        process.wait()
        sql(f"SELECT pg_terminate_backend(pid) FROM ({SLEEPING}) AS of_the_dead")
        process = fork(DATABASE_URL=database, **SOON)
    url = process.url()
    assert http_post(f"{url}/modules/other/migrate").json()["status"] == "success"
    run = ended(url, address, eventually)
    assert (run["status"], run["problem"]["code"], run["problem"]["filename"]) == (
        "failed",
        "run_poisoned",
        "002_b.sql",
    )
    # Something else may have killed them.
    release()
    assert http_post(f"{url}/modules/m/migrate").json()["status"] == "success"
