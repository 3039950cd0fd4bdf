"""The state that must be equal after a disturbed run and an undisturbed one."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig
from pgdbm.migrations.state.catalog import read_catalog
from pgdbm.migrations.state.changes import difference

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from pgdbm.migrations.state.catalog import CatalogObject

    from .plans import MigrationPlan

OURS = ("schema_migrations", "pgdbm_journal", "pgdbm_snapshots", "pgdbm_backfills")

_TABLES = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'r' AND c.relname <> ALL ($2) ORDER BY c.relname
"""
_DIGEST = "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text COLLATE \"C\")) FROM {}.{} AS t"
_INVALID = """
SELECT c.relname || ' in ' || n.nspname FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)
"""
_LOCKS = """
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_OTHERS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1
"""


@dataclass(frozen=True)
class State:
    """A schema after a run: what is in the catalog, rows and digest of every table, and the rows of the history."""

    catalog: tuple[CatalogObject, ...]
    data: dict[str, tuple[int, str | None]]
    history: tuple[tuple[str, str], ...]


async def read_state(connection: Any, schema: str, *, history: bool = True) -> State:
    data = {}
    for row in await connection.fetch(_TABLES, f'"{schema}"', list(OURS)):
        count, digest = await connection.fetchrow(_DIGEST.format(schema, row["relname"]))
        data[row["relname"]] = (count, digest)
    rows = []
    if history:
        rows = await connection.fetch(f"SELECT filename, checksum FROM {schema}.schema_migrations ORDER BY filename")
    catalog = tuple(await read_catalog(connection, schema, exclude=OURS))
    return State(catalog, data, tuple((row["filename"], row["checksum"]) for row in rows))


async def check_equal(connection: Any, schema: str, wanted: State, why: object) -> None:
    """``schema`` is as ``wanted``, nothing was applied twice, and nothing is left that a run should remove."""
    state = await read_state(connection, schema)
    assert not difference(wanted.catalog, state.catalog), why
    if "log" in state.data:
        words = Counter(row["word"] for row in await connection.fetch(f"SELECT word FROM {schema}.log"))
        assert all(count == 1 for count in words.values()), (why, words)
    assert state.data == wanted.data, why
    assert state.history == wanted.history, why
    await check_clean(connection, why)


async def check_clean(connection: Any, why: object) -> None:
    """No advisory lock, no invalid index and no half-detached partition is left in the database."""
    assert await connection.fetchval(_LOCKS) == 0, why
    assert [row[0] for row in await connection.fetch(_INVALID)] == [], why
    assert await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhdetachpending") == 0, why


async def until_gone(connection: Any, application_name: str) -> None:
    """Wait until the server has detected that the clients of that name are gone."""
    while await connection.fetchval(_OTHERS, application_name):
        await asyncio.sleep(0.005)


async def history_of(connection: Any, schema: str) -> list[str]:
    """The files that the history has, in the order in which they apply; none where there is no table."""
    if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.schema_migrations") is None:
        return []
    rows = await connection.fetch(f"SELECT filename FROM {schema}.schema_migrations ORDER BY id")
    return [row["filename"] for row in rows]


@asynccontextmanager
async def opened_pool(dsn: str, application_name: str = "pgdbm") -> AsyncIterator[asyncpg.Pool[Any]]:
    config = DatabaseConfig(
        connection_string=dsn,
        min_connections=1,
        max_connections=3,
        server_settings={"application_name": application_name},
    )
    pool: asyncpg.Pool[Any] = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        yield pool
    finally:
        pool.terminate()


async def migrate(pool: asyncpg.Pool[Any], schema: str, plan: MigrationPlan, **options: Any) -> dict[str, Any]:
    db = AsyncDatabaseManager(pool=pool, schema=schema)
    migrations = AsyncMigrationManager(db, plan.files, "torture", **options)
    result: dict[str, Any] = await migrations.apply_pending_migrations(**plan.apply)
    return result


async def revert(pool: asyncpg.Pool[Any], schema: str, plan: MigrationPlan, steps: int) -> None:
    db = AsyncDatabaseManager(pool=pool, schema=schema)
    await AsyncMigrationManager(db, plan.files, "torture").revert(steps)


async def undisturbed(pool: asyncpg.Pool[Any], plan: MigrationPlan) -> State:
    """The state that ``plan`` leaves without disturbances; the same for every test of a database."""
    schema = f"undisturbed_{plan.name}"
    await migrate(pool, schema, plan)
    async with pool.acquire() as connection:
        return await read_state(connection, schema)
