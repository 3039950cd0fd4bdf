"""Metrics over HTTP, with real locks, and during an outage of the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.migrations import AsyncMigrationManager
from pgdbm_service.database.pool import Database
from pgdbm_service.database.slots import Slots
from pgdbm_service.observability.metrics import Metrics
from pgdbm_service.observability.run_observer import Observer
from pgdbm_service.observability.sampler import StateSampler
from pgdbm_service.registry.modules import Registry
from pgdbm_service.registry.policies import ModulePolicies
from pgdbm_service.registry.store import RegistrationStore
from pgdbm_service.runs.records import RunRecords
from pgdbm_service.settings import Settings
from pgdbm_service.status.module_databases import ModuleDatabases
from pgdbm_service.status.module_lookup import ModuleLookup
from pgdbm_service.status.summaries import Summaries
from tests.support.waiting import eventually

from ...conftest import ROOT
from .retried import retried

if TYPE_CHECKING:
    from collections.abc import Callable

SOON = 0.05


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get((name, frozenset(labels.items())))


class Scraped:
    def __init__(self, service: Any) -> None:
        self._service = service

    def value(self, name: str, **labels: str) -> float | None:
        response = self._service.get("/metrics")
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        return value(response.text, name, **labels)

    def comes_to(self, expected: float, name: str, **labels: str) -> None:
        """A run is counted a moment after its end was reported."""
        eventually(lambda: self.value(name, **labels) == expected)

    def text(self) -> str:
        found: str = self._service.get("/metrics").text
        return found


def test_requests_are_counted_by_route_template(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start()
    scraped = Scraped(service)
    service.get("/modules/m")
    service.get("/modules/unknown_name")
    service.get("/nowhere/at/all")
    service.client.request("PROPFIND", "/modules")
    name = "pgdbm_http_requests_total"
    assert scraped.value(name, method="GET", route="/modules/{module}", status="200") == 1
    assert scraped.value(name, method="GET", route="/modules/{module}", status="404") == 1
    assert scraped.value(name, method="GET", route="(no route)", status="404") == 1
    text = scraped.text()
    assert "PROPFIND" not in text
    assert "unknown_name" not in text
    assert "nowhere" not in text
    assert value(text, "pgdbm_http_request_duration_seconds_count", method="GET", route="/modules/{module}") == 2


def test_runs_are_counted_by_module_and_status(start: Callable[..., Any], repo: Any) -> None:
    repo.write("good", _001_a="SELECT 1", _002_b="SELECT 2")
    repo.write("bad", _001_a="SELECT 1 / 0")
    service = start()
    scraped = Scraped(service)
    service.post("/modules/good/migrate", json={"dry_run": True})
    service.post("/modules/good/migrate")
    service.post("/modules/good/migrate")
    service.post("/modules/bad/migrate")
    runs = "pgdbm_runs_total"
    scraped.comes_to(1, runs, module="good", status="success")
    scraped.comes_to(1, runs, module="bad", status="failed")
    assert scraped.value("pgdbm_run_duration_seconds_count", module="good") == 1
    assert scraped.value("pgdbm_migrations_applied_total", module="good") == 2
    assert not scraped.value("pgdbm_migrations_applied_total", module="bad")


def test_pending_migrations_and_schemas_behind_are_exported(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1", _002_b="SELECT 2")
    repo.write("broken", "schema = 3", _001_a="SELECT 1")
    service = start(metrics_sample_s=SOON)
    scraped = Scraped(service)
    eventually(lambda: scraped.value("pgdbm_migrations_pending", module="m") == 2)
    assert scraped.value("pgdbm_schemas_behind", module="m") == 1
    assert scraped.value("pgdbm_module_schemas", module="m") == 1
    assert scraped.value("pgdbm_migrations_pending", module="broken") is None
    # The first failure of a module has to be an increase, or no alert would fire.
    assert scraped.value("pgdbm_runs_total", module="broken", status="failed") == 0
    service.post("/modules/m/migrate")
    eventually(lambda: scraped.value("pgdbm_migrations_pending", module="m") == 0)
    assert scraped.value("pgdbm_schemas_behind", module="m") == 0
    assert scraped.value("pgdbm_last_sample_timestamp_seconds")
    assert scraped.value("pgdbm_migrations_changed", module="m") == 0
    repo.write("m", _002_b="SELECT 3")
    eventually(lambda: scraped.value("pgdbm_migrations_changed", module="m") == 1)

    before = scraped.value("pgdbm_replicas")
    assert before is not None
    columns = "INSERT INTO pgdbm_service.replicas (id, host, pid, version, seen_at) VALUES (gen_random_uuid(), 'h', 1,"
    sql(f"{columns} '1', now())")
    sql(f"{columns} '1', now() - interval '1 day')")
    eventually(lambda: scraped.value("pgdbm_replicas") == before + 1)


def test_the_last_sample_is_exported_during_an_outage(
    start: Callable[..., Any], repo: Any, proxy: Any, proxied: str, eventually: Callable[..., Any]
) -> None:
    repo.write("m", _001_a="SELECT 1")
    service = start(database_url=proxied, metrics_sample_s=SOON)
    scraped = Scraped(service)
    eventually(lambda: scraped.value("pgdbm_migrations_pending", module="m") == 1)
    assert scraped.value("pgdbm_database_up") == 1
    eventually(lambda: scraped.value("pgdbm_ready") == 1)
    proxy.cut()
    eventually(lambda: scraped.value("pgdbm_database_up") == 0)
    assert scraped.value("pgdbm_ready") == 0
    assert scraped.value("pgdbm_migrations_pending", module="m") == 1
    proxy.restore()
    eventually(lambda: scraped.value("pgdbm_database_up") == 1)


def test_a_database_that_was_never_reached_is_down(start: Callable[..., Any], proxy: Any, proxied: str) -> None:
    proxy.cut()
    scraped = Scraped(start(database_url=proxied, wait=False))
    assert scraped.value("pgdbm_database_up") == 0
    assert scraped.value("pgdbm_pool_connections") == 0
    assert scraped.value("pgdbm_pool_connections_max") == 10


def test_two_apps_in_one_process_have_separate_metrics(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_a="SELECT 1")
    first, second = start(), start()
    first.post("/modules/m/migrate")
    # Either replica may have processed the run.
    eventually(
        lambda: (
            sorted(Scraped(one).value("pgdbm_runs_total", module="m", status="success") or 0 for one in (first, second))
            == [0, 1]
        )
    )


def test_a_lock_timeout_is_a_retry_and_a_failure(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], database: str
) -> None:
    sql("CREATE TABLE public.held ()")
    repo.write(
        "m", 'schema = "public"', _001_a="SET LOCAL lock_timeout = 50; ALTER TABLE public.held ADD COLUMN a integer"
    )
    service = start(lock_wait_s=2)
    scraped = Scraped(service)

    async def migrate_while_held() -> Any:
        holder = await asyncpg.connect(database)
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE public.held")
                return await asyncio.to_thread(service.post, "/modules/m/migrate")
        finally:
            await holder.close()

    response = asyncio.run(migrate_while_held())
    assert (response.status_code, response.json()["code"]) == (503, "lock_timeout")
    scraped.comes_to(1, "pgdbm_runs_total", module="m", status="failed")
    retries = scraped.value("pgdbm_retries_total", module="m")
    assert retries
    assert scraped.value("pgdbm_run_retries_sum", module="m") == retries


def observed(repo: Any, database: str) -> tuple[Metrics, Observer]:
    settings = Settings(database_url=database, migrations_repo=repo.path)
    unconnected, registry = Database(settings), Registry(())
    executor = Slots(limit=1, wait_s=1, grace_s=1)
    databases = ModuleDatabases(unconnected, ModulePolicies({}))
    summaries = Summaries(unconnected, databases)
    lookup = ModuleLookup(databases, registry, RegistrationStore(unconnected, registry), summaries, 1)
    metrics = Metrics(
        unconnected, executor, StateSampler(unconnected, registry, lookup, summaries, RunRecords(unconnected), 1)
    )
    return metrics, Observer(metrics, None)


async def test_waits_and_retries_of_a_run_are_counted_as_they_happen(repo: Any, database: str) -> None:
    """Makes the engine call a listener, as the worker of a run does."""
    metrics, observer = observed(repo, database)

    def count() -> None:
        assert value(metrics.text().decode(), "pgdbm_retries_total", module="m") == 1

    with observer.run("m", "run-1") as run:
        result = await retried(database, run, count)
        run.ended("success", len(result["applied"]))
    text = metrics.text().decode()
    assert value(text, "pgdbm_migrations_applied_total", module="m") == 1
    retries = value(text, "pgdbm_run_retries_sum", module="m")
    assert retries
    assert value(text, "pgdbm_lock_wait_seconds_count", module="m") == retries
    waited = value(text, "pgdbm_lock_wait_seconds_sum", module="m")
    assert waited is not None
    assert waited >= 0.05


async def test_a_wait_for_another_runner_is_a_lock_wait(repo: Any, database: str) -> None:
    metrics, observer = observed(repo, database)
    async with asyncpg.create_pool(database, min_size=0) as pool:
        db = AsyncDatabaseManager(pool=pool, schema="public")
        first = AsyncMigrationManager(db, {"001_a.sql": "SELECT pg_sleep(0.5)"}, "m")
        sleeping = asyncio.create_task(first.apply_pending_migrations())
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        while not await pool.fetchval(waits):
            await asyncio.sleep(0.01)
        with observer.run("m") as run:
            second = AsyncMigrationManager(
                db, {"001_a.sql": "SELECT pg_sleep(0.5)", "002_b.sql": "SELECT 2"}, "m", on_event=run.on_event
            )
            result = await second.apply_pending_migrations()
            run.ended("success", len(result["applied"]))
        await sleeping
    text = metrics.text().decode()
    assert value(text, "pgdbm_lock_wait_seconds_count", module="m") == 1
    assert value(text, "pgdbm_migrations_applied_total", module="m") == 1


def test_the_documented_metrics_are_those_exported(repo: Any, database: str) -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    metrics, _ = observed(repo, database)
    rows = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} | {family.documentation} |"
        for family in metrics.registry.collect()
        if family.name.startswith("pgdbm_")
    ]
    shown = [line for line in page.splitlines() if line.startswith("| `pgdbm_")]
    assert shown == rows, "the table has to be:\n" + "\n".join(rows)
