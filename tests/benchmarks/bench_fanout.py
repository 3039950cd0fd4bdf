"""Many schemas with 8 connections against 8 psql processes that work through the same list."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm.migrations.multi_schema import MultiSchema

from .databases import HISTORY, Databases, ddl, run_psql
from .harness import race, timed

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMAS = 1000
_MIGRATIONS = 10


async def main(dsn: str, folder: Path, rounds: int) -> None:
    databases = Databases(dsn)
    files = {f"{number:03}_thing.sql": ddl(number) for number in range(1, _MIGRATIONS + 1)}
    schemas = [f"tenant_{number:04}" for number in range(_SCHEMAS)]
    scripts = []
    for schema in schemas:
        parts = [HISTORY.replace("app", schema)]
        for name, text in files.items():
            plain = text.replace("{{tables.", f'"{schema}".').replace("}}", "")
            columns = "(filename, checksum, module_name)"
            row = f"INSERT INTO {schema}.schema_migrations {columns} VALUES ('{name}', 'x', 'm')"
            parts.append(f"BEGIN;\n{plain}{row};\nCOMMIT;\n")
        script = folder / f"{schema}.sql"
        script.write_text("".join(parts))
        scripts.append(script)

    async def pgdbm() -> float:
        config = DatabaseConfig(
            connection_string=await databases.fresh(), min_connections=8, max_connections=9, statement_cache_size=0
        )
        pool = await AsyncDatabaseManager.create_shared_pool(config)

        async def migrate() -> None:
            async for result in MultiSchema(pool, files, "m", concurrency=8).apply(schemas):
                assert result.status == "success", result.error

        seconds = await timed(migrate)
        await pool.close()
        return seconds

    async def psql() -> float:
        target = await databases.fresh()
        waiting = list(scripts)

        async def work() -> None:
            while waiting:
                await run_psql(target, waiting.pop())

        return await timed(lambda: asyncio.gather(*(work() for _ in range(8))))

    title = f"{_SCHEMAS} schemas, {_MIGRATIONS} migrations each,8 at a time"
    result = await race(title, {"pgdbm": pgdbm, "8 psql processes": psql}, max(1, rounds // 2))
    result.show(("pgdbm", "8 psql processes", round(1 / 0.9, 3)))
