"""Three modules in one process: one pool, and for each a manager with its own schema."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager, DatabaseConfig

from .billing.routes import router as billing
from .notifications.routes import router as notifications
from .users.routes import router as users

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# In this order, because the tables of billing refer to those of users, and so on.
MODULES = ("users", "billing", "notifications")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    config = DatabaseConfig(
        connection_string=os.environ["DATABASE_URL"],
        min_connections=int(os.environ.get("DB_MIN_CONN", "1")),
        max_connections=int(os.environ.get("DB_MAX_CONN", "10")),
        server_settings={"application_name": "monolith"},
    )
    pool = await AsyncDatabaseManager.create_shared_pool(config)
    try:
        app.state.databases = {name: AsyncDatabaseManager(pool=pool, schema=name) for name in MODULES}
        for name, db in app.state.databases.items():
            migrations = Path(__file__).parent / name / "migrations"
            await AsyncMigrationManager(db, migrations, module_name=name).apply_pending_migrations()
        yield
    finally:
        await pool.close()


app = FastAPI(title="Monolith", lifespan=lifespan)
app.include_router(users)
app.include_router(billing)
app.include_router(notifications)
