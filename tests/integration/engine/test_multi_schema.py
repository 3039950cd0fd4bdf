"""One set of migrations for many schemas."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

import pgdbm
from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm.migrations.multi_schema import MultiSchema, SchemaResult, schemas_from, schemas_like

if TYPE_CHECKING:
    import asyncpg

FILES = {
    "1_a.sql": "CREATE TABLE {{tables.a}} (id int);",
    "2_b.sql": "CREATE INDEX a_id ON {{tables.a}} (id);\nINSERT INTO {{tables.a}} SELECT 1;",
}
FAILING = FILES | {"3_c.sql": "SELECT 1 / (CASE WHEN '{{schema}}' LIKE '%_bad\"' THEN 0 ELSE 1 END);"}


async def collect(fan_out: MultiSchema, schemas: Any, **options: Any) -> list[SchemaResult]:
    return [result async for result in fan_out.apply(schemas, **options)]


def tally(results: list[SchemaResult]) -> dict[str, int]:
    statuses = [result.status for result in results]
    return {status: statuses.count(status) for status in set(statuses)}


async def test_every_schema_is_migrated_once(pool: asyncpg.Pool[Any]) -> None:
    schemas = [f"tenant_{number:03}" for number in range(40)]
    fan_out = MultiSchema(pool, FILES, "tenant", concurrency=6)
    results = await collect(fan_out, schemas)
    assert sorted(result.schema for result in results) == schemas
    assert tally(results) == {"success": 40}
    made = "SELECT count(*) FROM pg_indexes WHERE schemaname ~ '^tenant' AND indexname = 'a_id'"
    assert await pool.fetchval(made) == 40
    assert tally(await collect(fan_out, schemas)) == {"up_to_date": 40}


async def test_schemas_by_pattern_and_by_query(pool: asyncpg.Pool[Any]) -> None:
    db = AsyncDatabaseManager(pool=pool)
    for schema in ("tenant_1", "tenant_2", "tenantx3", "other"):
        await db.execute(f"CREATE SCHEMA {schema}")
    assert [schema async for schema in schemas_like(db, "tenant_*")] == ["tenant_1", "tenant_2"]
    assert [schema async for schema in schemas_like(db, "tenant?*")] == ["tenant_1", "tenant_2", "tenantx3"]
    assert [schema async for schema in schemas_like(db, "*ant*3")] == ["tenantx3"]
    assert [schema async for schema in schemas_like(db, "pg_*")] == []
    query = "SELECT nspname FROM pg_namespace WHERE nspname = $1"
    results = await collect(MultiSchema(pool, FILES, "tenant"), schemas_from(db, query, "other"))
    assert [(result.schema, result.status) for result in results] == [("other", "success")]


async def test_stop_at_the_first_failure(pool: asyncpg.Pool[Any]) -> None:
    schemas = ["t_1", "t_bad", *(f"t_{number}" for number in range(2, 100))]
    results = await collect(MultiSchema(pool, FAILING, "tenant", concurrency=2), schemas)
    counts = tally(results)
    assert counts["failed"] == 1
    assert counts["not_reached"] >= 1
    assert sum(counts.values()) == 100
    failed = next(result for result in results if result.status == "failed")
    assert isinstance(failed.error, pgdbm.MigrationExecutionError)
    assert failed.error.migration_file == "3_c.sql"


async def test_failures_are_collected_and_only_those_are_retried(pool: asyncpg.Pool[Any]) -> None:
    schemas = ["t_1", "t_bad", "t_2", "u_bad", "t_3"]
    results = await collect(MultiSchema(pool, FAILING, "tenant", concurrency=2, on_failure="continue"), schemas)
    assert tally(results) == {"success": 3, "failed": 2}
    again = [result.schema for result in results if result.status == "failed"]
    fixed = FILES | {"3_c.sql": "SELECT 1"}
    retried = await collect(MultiSchema(pool, fixed, "tenant"), again)
    assert {(result.schema, result.applied) for result in retried} == {
        ("t_bad", ("3_c.sql",)),
        ("u_bad", ("3_c.sql",)),
    }


async def test_a_failing_canary_stops_the_run(pool: asyncpg.Pool[Any]) -> None:
    fan_out = MultiSchema(pool, FAILING, "tenant", canary=2, on_failure="continue")
    assert tally(await collect(fan_out, ["t_1", "t_bad", "t_2", "t_3"])) == {
        "success": 1,
        "failed": 1,
        "not_reached": 2,
    }
    assert tally(await collect(fan_out, ["t_5"])) == {"success": 1}


async def test_a_dry_run_creates_nothing(pool: asyncpg.Pool[Any]) -> None:
    (result,) = await collect(MultiSchema(pool, FILES, "tenant"), ["t_1"], dry_run=True)
    assert (result.status, result.pending) == ("dry_run", ("1_a.sql", "2_b.sql"))
    assert not await pool.fetchval("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 't_1')")


async def test_a_bad_name_fails_alone(pool: asyncpg.Pool[Any]) -> None:
    results = await collect(MultiSchema(pool, FILES, "tenant", on_failure="continue"), ["no good", "t_1"])
    assert tally(results) == {"failed": 1, "success": 1}


async def test_memory_does_not_grow_with_the_schemas(database: str) -> None:
    config = DatabaseConfig(connection_string=database, min_connections=1, max_connections=8, statement_cache_size=0)
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    fan_out = MultiSchema(pool, {"1.sql": "SELECT 1"}, "tenant")
    await collect(fan_out, [f"warm_{number}" for number in range(10)])

    async def most_memory(count: int, prefix: str) -> int:
        tracemalloc.start()
        async for _ in fan_out.apply(f"{prefix}_{number}" for number in range(count)):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few = await most_memory(10, "few")
    assert await most_memory(80, "many") < 2.5 * few + 500_000
    await pool.close()


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"canary": -1}, {"on_failure": "maybe"}])
async def test_invalid_options_are_refused(pool: asyncpg.Pool[Any], options: dict[str, Any]) -> None:
    with pytest.raises(pgdbm.ConfigurationError):
        MultiSchema(pool, FILES, "tenant", **options)
