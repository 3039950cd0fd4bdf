"""Tenants: each has a schema `tenant_<name>`, all on one pool; the schema `registry` lists them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

if TYPE_CHECKING:
    import asyncpg

MIGRATIONS = Path(__file__).parent / "migrations"
# The maximum number of connections that migrate, so that requests get some too.
MAX_MIGRATING = 4


class Tenants:
    """Signs tenants up, and finds their databases."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self._registry = AsyncDatabaseManager(pool=pool, schema="registry")
        self._slots = asyncio.Semaphore(MAX_MIGRATING)

    async def migrate(self) -> None:
        """Migrate the registry, then every tenant. Tenants do not wait for each other's locks."""
        registry = AsyncMigrationManager(self._registry, MIGRATIONS / "registry", module_name="registry")
        await registry.apply_pending_migrations()
        async with asyncio.TaskGroup() as tasks:
            for tenant in await self._registry.fetch_all("SELECT name FROM {{tables.tenants}}"):
                tasks.create_task(self._migrate(tenant["name"]))

    async def sign_up(self, name: str) -> bool:
        """Create the schema of a new tenant; returns False if there is already one with this name.

        The registry is written last, so every tenant in it is complete. A failed sign-up can be repeated.
        """
        await self._migrate(name)
        status = await self._registry.execute(
            "INSERT INTO {{tables.tenants}} (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", name
        )
        return status == "INSERT 0 1"

    async def find(self, name: str) -> AsyncDatabaseManager | None:
        """The manager of a tenant's schema, or None if there is no such tenant. A manager holds no connection."""
        known = await self._registry.fetch_value("SELECT true FROM {{tables.tenants}} WHERE name = $1", name)
        return self._database(name) if known else None

    def _database(self, name: str) -> AsyncDatabaseManager:
        return AsyncDatabaseManager(pool=self._pool, schema=f"tenant_{name}")

    async def _migrate(self, name: str) -> None:
        async with self._slots:
            migrations = AsyncMigrationManager(self._database(name), MIGRATIONS / "tenant", module_name="tenant")
            await migrations.apply_pending_migrations()
