"""Listing a schema of 500 tables, and keeping the listing, against fetching nothing but its columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgdbm.migrations.state.catalog import read_catalog
from pgdbm.migrations.state.drift import drift
from pgdbm.migrations.state.snapshots import save

from .databases import Databases, ddl, shared_pool
from .harness import race, timed

if TYPE_CHECKING:
    from pathlib import Path

_TABLES = 500
_MOST_MS = 150
_COLUMNS = """
SELECT c.relname, a.attname, a.attnum, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'app'::regnamespace
"""


async def main(dsn: str, _folder: Path, rounds: int) -> None:
    pool = await shared_pool(await Databases(dsn).fresh())
    tables = "".join(ddl(number) for number in range(_TABLES)).replace("{{tables.", "app.").replace("}}", "")
    async with pool.acquire() as connection:
        await connection.execute(f"CREATE SCHEMA app; {tables}")
        for number in range(1, _TABLES):
            await connection.execute(
                f"ALTER TABLE app.thing_{number} ADD COLUMN amount numeric(10, 2) CHECK (amount > 0),"
                f" ADD COLUMN code varchar(20) DEFAULT 'x', ADD COLUMN detail jsonb,"
                f" ADD COLUMN before_it bigint REFERENCES app.thing_{number - 1}"
            )
        await connection.execute("ANALYZE")
        result = await race(
            f"A schema of {_TABLES} tables",
            {
                "listing": lambda: timed(lambda: read_catalog(connection, "app")),
                "listing and keeping it": lambda: timed(lambda: save(connection, "app", "app", "schema_migrations")),
                "drift, none": lambda: timed(lambda: drift(connection, "app", "schema_migrations")),
                "its columns only": lambda: timed(lambda: connection.fetch(_COLUMNS)),
            },
            rounds * 3,
        )
        count = len(await read_catalog(connection, "app"))
    result.show(("listing", "its columns only", 15), ("listing and keeping it", "listing", 1.5))
    fastest = min(result.seconds["listing"]) * 1000
    verdict = "ok" if fastest < _MOST_MS else "OVER"
    print(f"  {count} objects listed in {fastest:.0f} ms when nothing else ran  (at most {_MOST_MS})  {verdict}")
    await pool.close()
