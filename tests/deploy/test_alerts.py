"""Each alert fires over series of a service that is really in that state, and no other alert does.

promtool evaluates the rules. If a state takes minutes, its duration is repeated or scaled, but the state is real.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.service.running_service import bearer

from .prometheus import Recording, firing, scraped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.service.conftest import Proxy
    from tests.service.running_service import Repo, RunningService

    Fired = Callable[[Recording], set[str]]
    Start = Callable[..., RunningService]

SOON = 0.05


@pytest.fixture
def fired(promtool: str, tmp_path: Path) -> Fired:
    return lambda recording: firing(promtool, recording, tmp_path)


@contextmanager
def transaction(database: str, statement: str) -> Iterator[None]:
    """Another session, in a transaction that has executed ``statement``."""
    with asyncio.Runner() as runner:

        async def begin() -> asyncpg.Connection[Any]:
            connection = await asyncpg.connect(database)
            await connection.execute("BEGIN")
            await connection.execute(statement)
            return connection

        connection = runner.run(begin())
        try:
            yield
        finally:
            runner.run(connection.close())


def value(scrape: dict[str, float], name: str) -> float:
    """The sum over the series of ``name``."""
    return sum(value for series, value in scrape.items() if series.startswith(f"{name}{{"))


def test_a_healthy_service_fires_nothing(start: Start, repo: Repo, fired: Fired) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service = start(metrics_sample_s=SOON)
    recording = Recording(service)
    recording.scrape()
    assert service.post("/modules/orders/migrate").status_code == 200
    recording.watch(lambda: value(scraped(service), "pgdbm_migrations_pending") == 0, seconds_as=60)
    recording.hold(120)
    assert fired(recording) == set()


@pytest.mark.parametrize("is_new", [False, True], ids=["known", "new"])
def test_migration_failed(start: Start, repo: Repo, fired: Fired, is_new: bool) -> None:
    """The alert also fires for a module that fails before its counters were scraped at 0."""
    if not is_new:
        repo.write("orders", _001_a="SELECT 1 / 0")
    service = start(metrics_sample_s=3600 if is_new else SOON)
    recording = Recording(service)
    recording.watch(lambda: is_new or value(scraped(service), "pgdbm_migrations_pending"), seconds_as=60)
    # Prometheus has to know the replica for some minutes, or each counter would be new.
    recording.hold(20)
    if is_new:
        files = [{"filename": "001_a.sql", "content": "SELECT 1 / 0"}]
        assert service.client.put("/modules/orders", json={"migrations": files}).status_code in (200, 201)
    assert service.post("/modules/orders/migrate").status_code == 422
    recording.watch(lambda: value(scraped(service), "pgdbm_runs_total"), seconds_as=60)
    recording.hold(5)
    assert fired(recording) == {"PgdbmMigrationFailed"}


def test_run_blocked(start: Start, repo: Repo, sql: Callable[..., Any], database: str, fired: Fired) -> None:
    """With the default settings a run gives up after a minute, which is scaled to six seconds here."""
    sql("CREATE TABLE public.held ()")
    repo.write("orders", 'schema = "public"', _001_a="ALTER TABLE public.held ADD COLUMN a integer")
    wait_s = 6
    service = start(metrics_sample_s=SOON, lock_wait_s=wait_s)
    recording = Recording(service)
    recording.scrape()
    recording.hold(20)
    answers = []
    with transaction(database, "LOCK TABLE public.held"):
        run = threading.Thread(target=lambda: answers.append(service.post("/modules/orders/migrate")))
        run.start()
        recording.watch(lambda: not run.is_alive(), seconds_as=60 / wait_s)
        run.join()
    (answer,) = answers
    assert (answer.status_code, answer.json()["code"]) == (503, "lock_timeout")
    recording.watch(lambda: value(scraped(service), "pgdbm_schemas_blocked") == 0, seconds_as=60 / wait_s)
    recording.hold(5)
    assert fired(recording) == {"PgdbmRunBlocked", "PgdbmMigrationFailed"}


def test_run_stuck(start: Start, repo: Repo, sql: Callable[..., Any], fired: Fired) -> None:
    repo.write("orders", _001_a="SELECT pg_sleep(600)")
    service = start(metrics_sample_s=SOON)
    run = service.post("/modules/orders/migrate", json={"wait_s": 0}).json()["id"]
    recording = Recording(service)

    def has_had_no_events() -> bool:
        # The events are aged, because half an hour cannot be waited for; the statement is really executed.
        sql(
            """UPDATE pgdbm_service.run_events SET at = at - interval '40 minutes'
               WHERE run = $1::text::uuid AND at > now() - interval '30 minutes'""",
            run,
        )
        return value(scraped(service), "pgdbm_run_quiet_seconds") > 1800

    try:
        asleep = "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND wait_event = 'PgSleep'"
        recording.watch(lambda: sql(asleep), seconds_as=60)
        recording.watch(has_had_no_events, seconds_as=60)
        recording.hold(6)
    finally:
        service.post(f"/runs/{run}/cancel")
    assert fired(recording) == {"PgdbmRunStuck"}


def test_migrations_pending(start: Start, repo: Repo, fired: Fired) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service = start(metrics_sample_s=SOON)
    recording = Recording(service)
    recording.watch(lambda: value(scraped(service), "pgdbm_migrations_pending") == 1, seconds_as=60)
    recording.hold(55)
    assert fired(recording) == set()
    recording.hold(10)
    assert fired(recording) == {"PgdbmMigrationsPending"}


def test_schemas_behind(start: Start, repo: Repo, sql: Callable[..., Any], fired: Fired) -> None:
    repo.write("orders", 'schemas = ["one", "two"]', _001_a="SELECT 1")
    service = start(metrics_sample_s=SOON)
    assert service.post("/modules/orders/migrate", json={"schemas": ["one"]}).status_code == 200
    recording = Recording(service)
    recording.watch(lambda: value(scraped(service), "pgdbm_schemas_behind") == 1, seconds_as=60)
    recording.hold(35)
    assert fired(recording) == {"PgdbmSchemasBehind"}


def test_files_changed(start: Start, repo: Repo, fired: Fired) -> None:
    repo.write("orders", _001_a="SELECT 1")
    service = start(metrics_sample_s=SOON)
    assert service.post("/modules/orders/migrate").status_code == 200
    repo.write("orders", _001_a="SELECT 2")
    service.sync()
    recording = Recording(service)
    recording.watch(lambda: value(scraped(service), "pgdbm_migrations_changed") == 1, seconds_as=60)
    recording.hold(6)
    assert fired(recording) == {"PgdbmFilesChanged"}


def test_invalid_index(start: Start, repo: Repo, sql: Callable[..., Any], fired: Fired) -> None:
    repo.write("orders", _001_a="CREATE TABLE {{tables.t}} AS SELECT 1 AS id FROM generate_series(1, 2)")
    service = start(metrics_sample_s=SOON)
    assert service.post("/modules/orders/migrate").status_code == 200
    with pytest.raises(asyncpg.UniqueViolationError):
        sql("CREATE UNIQUE INDEX CONCURRENTLY t_id ON orders.t (id)")
    recording = Recording(service)
    recording.watch(lambda: value(scraped(service), "pgdbm_invalid_indexes") == 1, seconds_as=60)
    recording.hold(20)
    assert fired(recording) == {"PgdbmInvalidIndex"}


def test_database_away(start: Start, proxy: Proxy, proxied: str, fired: Fired) -> None:
    service = start(database_url=proxied, metrics_sample_s=SOON)
    recording = Recording(service)
    recording.watch(lambda: value(scraped(service), "pgdbm_ready") == 1, seconds_as=60)
    proxy.cut()
    recording.watch(lambda: value(scraped(service), "pgdbm_database_up") == 0, seconds_as=60)
    recording.hold(3)
    assert fired(recording) == {"PgdbmDatabaseAway"}
    recording.hold(3)
    assert fired(recording) == {"PgdbmDatabaseAway", "PgdbmNotReady"}


def test_a_replica_that_cannot_be_scraped_is_not_ready(start: Start, fired: Fired) -> None:
    service = start(metrics_sample_s=SOON)
    recording = Recording(service)
    recording.watch(lambda: value(scraped(service), "pgdbm_ready") == 1, seconds_as=60)
    recording.scrapes += [None] * 30
    assert fired(recording) == {"PgdbmNotReady"}


def test_pool_exhausted(start: Start, repo: Repo, database: str, fired: Fired) -> None:
    """Requests that wait for a locked table of the service hold every connection."""
    service = start(metrics_sample_s=SOON, min_connections=1, max_connections=3, database_timeout_s=60)
    recording = Recording(service)
    recording.watch(lambda: value(scraped(service), "pgdbm_ready") == 1, seconds_as=60)
    requests = [threading.Thread(target=lambda: service.get("/runs")) for _ in range(6)]
    with transaction(database, "LOCK TABLE pgdbm_service.runs IN ACCESS EXCLUSIVE MODE"):
        for request in requests:
            request.start()
        full = value(scraped(service), "pgdbm_pool_connections_max")
        recording.watch(lambda: value(scraped(service), "pgdbm_pool_connections_used") == full, seconds_as=60)
    for request in requests:
        request.join()
    recording.hold(6)
    assert fired(recording) == {"PgdbmPoolExhausted"}


def test_authentication_failures(start: Start, fired: Fired) -> None:
    service = start(auth="tokens", metrics_sample_s=SOON)
    recording = Recording(service)
    for burst in range(12):
        statuses = {service.get("/modules", headers=bearer(f"{burst}-{n}")).status_code for n in range(10)}
        assert statuses <= {401, 429}
        recording.scrape()
    recording.hold(1)
    assert fired(recording) == {"PgdbmAuthenticationFailures"}
