"""A migration whose statement is tried again, because a session holds the lock that it needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

from pgdbm import AsyncDatabaseManager, AsyncMigrationManager

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = {"001_a.sql": "SET LOCAL lock_timeout = 50; ALTER TABLE public.held ADD COLUMN a integer"}


async def retried(database: str, run: Any, once_retried: Callable[[], object] = lambda: None) -> Any:
    """The result of applying FILES with ``run`` as the listener; the lock is held until ``once_retried`` returns."""
    after_a_retry = asyncio.Event()

    def listen(event: Any) -> None:
        run.on_event(event)
        if event.kind == "retrying":
            after_a_retry.set()

    async with asyncpg.create_pool(database, min_size=0) as pool, pool.acquire() as holder:
        await holder.execute("CREATE TABLE public.held ()")
        db = AsyncDatabaseManager(pool=pool, schema="public")
        async with holder.transaction():
            await holder.execute("LOCK TABLE public.held")
            manager = AsyncMigrationManager(db, FILES, "m", on_event=listen)
            migrating = asyncio.create_task(manager.apply_pending_migrations())
            await after_a_retry.wait()
            once_retried()
        return await migrating
