"""The baseline of the HTTP benchmark: a bare Litestar handler with the query of the history call, on a pool alike."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
import uvicorn
from litestar import Litestar, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_QUERY = """
SELECT id, filename, checksum, applied_at AT TIME ZONE current_setting('TimeZone') AS applied_at, applied_by,
       execution_time_ms
FROM app.schema_migrations WHERE (module_name = $1 OR module_name IS NULL) ORDER BY id DESC LIMIT 21
"""


@asynccontextmanager
async def _pool(app: Litestar) -> AsyncIterator[None]:
    app.state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=10)
    yield
    await app.state.pool.close()


def main() -> None:
    @get("/history")
    async def history() -> dict[str, Any]:
        rows = await app.state.pool.fetch(_QUERY, "app")
        return {"items": [dict(row) for row in rows[:20]], "next": None}

    app = Litestar([history], lifespan=[_pool], openapi_config=None)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PGDBM_PORT"]), log_level="error", access_log=False)


if __name__ == "__main__":
    main()
