"""The query methods against asyncpg itself, on the same pool; a ratio over 1 is what the library costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager

from .databases import Databases, shared_pool
from .harness import race, timed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


async def main(dsn: str, _folder: Path, rounds: int) -> None:
    pool = await shared_pool(await Databases(dsn).fresh())
    db = AsyncDatabaseManager(pool=pool, schema="app")
    await db.execute("CREATE SCHEMA app")
    await db.execute("CREATE TABLE {{tables.item}} (id bigint PRIMARY KEY, name text, price numeric)")
    await db.execute("INSERT INTO {{tables.item}} SELECT i, 'name ' || i, i FROM generate_series(1, 1000) i")

    def often(work: Callable[[], Awaitable[object]], times: int) -> Callable[[], Awaitable[float]]:
        async def repeat() -> None:
            for _ in range(times):
                await work()

        return lambda: timed(repeat)

    result = await race(
        "fetch_value, 2,000 times",
        {
            "pgdbm": often(lambda: db.fetch_value("SELECT name FROM {{tables.item}} WHERE id = $1", 7), 2000),
            "asyncpg": often(lambda: pool.fetchval('SELECT name FROM "app".item WHERE id = $1', 7), 2000),
        },
        rounds * 3,
    )
    result.show(("pgdbm", "asyncpg", 1 / 0.95))
    await pool.close()
