"""Once a run has ended, every list shows what it did."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg

from pgdbm.core.manager import AsyncDatabaseManager
from pgdbm.migrations import AsyncMigrationManager
from pgdbm_service.registry.modules import Module
from pgdbm_service.registry.policies import ModulePolicies
from pgdbm_service.registry.settings import CheckedSettings
from pgdbm_service.status.module_databases import ModuleDatabases
from pgdbm_service.status.summaries import Summaries

if TYPE_CHECKING:
    from collections.abc import Callable

TENANTS = [f"tenant_{number:03}" for number in range(130)]
"""More schemas than are read from the histories each time: their states come from summaries."""


def fails_without(table: str) -> str:
    return f"SELECT 1 / (SELECT count(*) FROM pg_tables WHERE tablename = '{table}')"


def test_states_after_a_failure_and_its_retry(
    start: Callable[..., Any], repo: Any, sql: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    for tenant in TENANTS:
        sql(f"CREATE SCHEMA {tenant}")
    repo.write(
        "m", 'schemas = "tenant_*"', _001_t="CREATE TABLE {{tables.t}} (id integer)", _002_fails=fails_without("ready")
    )
    first, second = start(), start()
    failed = first.post("/modules/m/migrate", json={"on_failure": "continue"})
    assert failed.status_code == 422
    for service in (second, first):
        states = service.get("/modules/m").json()
        assert (states["state"], states["states"]) == ("failed", {"failed": 130})
    sql("CREATE TABLE public.ready ()")
    for attempt in range(2):
        run = failed.json()["run_id"]
        retried = first.post(f"/runs/{run}/retry", headers={"Prefer": "wait=60"})
        assert retried.status_code == 200, retried.text
        for service in (second, first):
            shown = service.get("/modules/m").json()
            assert (shown["state"], shown["last_run"]) == ("up_to_date", retried.json()["run_id"]), attempt
            assert service.get("/modules/m/schemas", params={"state": "failed"}).json()["items"] == []
        # The same, starting after a failure.
        repo.write("m", **{f"_00{attempt + 3}_fails": fails_without(f"ready{attempt}")})
        for service in (first, second):
            service.sync()
        failed = first.post("/modules/m/migrate", json={"on_failure": "continue"})
        assert failed.status_code == 422
        assert second.get("/modules/m").json()["state"] == "failed"
        sql(f"CREATE TABLE public.ready{attempt} ()")


def test_the_last_run_is_shown_as_soon_as_it_has_ended(start: Callable[..., Any], repo: Any) -> None:
    repo.write("m", _001_t="CREATE TABLE {{tables.t}} (id integer)")
    first, second = start(), start()
    for number in range(2, 12):
        run = first.post("/modules/m/migrate").json()["run_id"]
        shown = second.get("/modules/m").json()
        assert (shown["state"], shown["last_run"]) == ("up_to_date", run)
        (schema,) = second.get("/modules/m/schemas").json()["items"]
        assert schema["last_run"] == run
        repo.write("m", **{f"_0{number:02}_x": "SELECT 1"})
        for service in (first, second):
            service.sync()


async def test_a_reconciliation_overwrites_no_newer_summary(database: str) -> None:
    """The reconciliation reads a history before a run migrates the schema, and writes after the run has ended."""
    pool = await asyncpg.create_pool(database, min_size=1, max_size=4)
    try:

        def manager(schema: str = "public", *, login: str | None = None) -> AsyncDatabaseManager:
            assert login is None
            return AsyncDatabaseManager(pool=pool, schema=schema)

        of_pool = SimpleNamespace(manager=manager, login_names=[], with_timeout=None)
        module = Module(name="m", settings=CheckedSettings(schemas=("m",)))
        files = {"001_t.sql": "CREATE TABLE {{tables.t}} (id integer)"}
        databases = ModuleDatabases(of_pool, ModulePolicies({}))
        reconciling, of_run = Summaries(of_pool, databases), Summaries(of_pool, databases)
        read = reconciling._sets.read

        async def read_early(*arguments: Any, **options: Any) -> Any:
            found = await read(*arguments, **options)
            await AsyncMigrationManager(of_pool.manager("m"), files, "m").apply_pending_migrations()
            await of_run.refresh(module, ["m"], "a run")
            return found

        reconciling._sets.read = read_early  # type: ignore[method-assign]
        await of_run.refresh(module, ["m"], "an earlier run")
        await reconciling.refresh(module, ["m"])
        digest = await pool.fetchval("SELECT digest FROM pgdbm_service.schema_summaries WHERE module = 'm'")
        assert digest == (await read(databases, [("m", "m")]))["m", "m"].digest
    finally:
        await pool.close()
