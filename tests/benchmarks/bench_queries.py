"""The query methods against asyncpg itself, on the same pool; a ratio over 1 is what the library costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager

from .databases import Databases, shared_pool
from .harness import race, timed

if TYPE_CHECKING:
    from pathlib import Path

Work = Callable[[], Awaitable[object]]


async def main(dsn: str, _folder: Path, rounds: int) -> None:
    pool = await shared_pool(await Databases(dsn).fresh())
    db = AsyncDatabaseManager(pool=pool, schema="app")
    await db.execute("CREATE SCHEMA app")
    await db.execute("CREATE TABLE {{tables.item}} (id bigint PRIMARY KEY, name text, price numeric)")
    await db.execute("INSERT INTO {{tables.item}} SELECT i, 'name ' || i, i FROM generate_series(1, 1000) i")
    await db.execute("CREATE UNLOGGED TABLE {{tables.sink}} (id bigint, name text)")
    many = [(number, f"name {number}") for number in range(10_000)]
    most = [(number, f"name {number}") for number in range(100_000)]

    async def compare(title: str, ours: Work, theirs: Work, times: int, share: float) -> None:
        async def repeat(work: Work) -> None:
            for _ in range(times):
                await work()
            await pool.execute("TRUNCATE app.sink")

        candidates = {"pgdbm": lambda: timed(lambda: repeat(ours)), "asyncpg": lambda: timed(lambda: repeat(theirs))}
        (await race(title, candidates, rounds * 3)).show(("pgdbm", "asyncpg", round(1 / share, 3)))

    await compare(
        "fetch_value, 2,000 times",
        lambda: db.fetch_value("SELECT name FROM {{tables.item}} WHERE id = $1", 7),
        lambda: pool.fetchval('SELECT name FROM "app".item WHERE id = $1', 7),
        2000,
        0.95,
    )
    await compare(
        "fetch_all of 1,000 rows as dicts, 50 times, against asyncpg's records",
        lambda: db.fetch_all("SELECT id, name, price FROM {{tables.item}}"),
        lambda: pool.fetch('SELECT id, name, price FROM "app".item'),
        50,
        0.85,
    )
    await compare(
        "executemany of 10,000",
        lambda: db.executemany("INSERT INTO {{tables.sink}} VALUES ($1, $2)", many),
        lambda: pool.executemany('INSERT INTO "app".sink VALUES ($1, $2)', many),
        1,
        0.98,
    )
    await compare(
        "COPY of 100,000",
        lambda: db.copy_records_to_table("sink", most),
        lambda: pool.copy_records_to_table("sink", records=most, schema_name="app"),
        1,
        0.98,
    )
    await pool.close()
