"""A process that migrates on command, for tests that race or kill it.

Run with a DSN and, as JSON, further settings of the config. Reads lines ``{"schema": …, "files": {…}, …}`` from stdin
and answers each with a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig


async def migrate(pool: object, order: dict[str, object]) -> dict[str, object]:
    options = order.get("options", {})
    assert isinstance(options, dict)
    how = options.pop("apply", {})
    db = AsyncDatabaseManager(pool=pool, schema=order["schema"])  # type: ignore[arg-type]
    try:
        migrations = AsyncMigrationManager(db, order["files"], "racer", **options)  # type: ignore[arg-type]
        return await migrations.apply_pending_migrations(**how)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


async def main(dsn: str, settings: str) -> None:
    config = DatabaseConfig(connection_string=dsn, min_connections=1, max_connections=3, **json.loads(settings))
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    print(json.dumps("ready"), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await migrate(pool, json.loads(line))), flush=True)
    await pool.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
