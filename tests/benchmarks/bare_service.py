"""The baseline of the HTTP benchmark: a bare Litestar handler with the query of the history call, on a similar pool.

It differs from the service only in what is measured: query, pool and server, with their settings, are the same.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from litestar import Litestar, get

from pgdbm import AsyncDatabaseManager, DatabaseConfig
from pgdbm.migrations.state.history import History
from pgdbm_service.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_QUERY = History("app", "schema_migrations", "app").sql("page")


@asynccontextmanager
async def _pool(app: Litestar) -> AsyncIterator[None]:
    settings = read_settings()
    config = DatabaseConfig(
        connection_string=os.environ["DATABASE_URL"],
        min_connections=settings.min_connections,
        max_connections=settings.max_connections,
        command_timeout=settings.database_timeout_s,
    )
    app.state.pool = await AsyncDatabaseManager.create_shared_pool(config)
    yield
    await app.state.pool.close()


def main() -> None:
    @get("/history")
    async def history() -> dict[str, Any]:
        rows = await app.state.pool.fetch(_QUERY, "app", None, 21)
        return {"items": [dict(row) for row in rows[:20]], "next": None}

    app = Litestar([history], lifespan=[_pool], openapi_config=None, logging_config=None)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PGDBM_PORT"]),
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
