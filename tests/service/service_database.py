"""The database of a service, accessed without the service."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg

from pgdbm import AsyncDatabaseManager
from pgdbm_service.auth.tokens import create_token
from pgdbm_service.database.service_schema import SERVICE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Coroutine

KEPT = "a token that is kept"
ACTIVE = """
SELECT EXISTS (SELECT FROM pgdbm_service.runs WHERE status IN ('queued', 'running'))
    OR EXISTS (SELECT FROM pgdbm_service.pgqueuer WHERE dedupe_key NOT IN (
           SELECT id || ':1' FROM pgdbm_service.runs WHERE status = 'held'))
"""
# Left behind by a test that failed.
CANCEL_SLEEPING = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'
"""
# Applied sets stay: a service caches which of them it has stored. TRUNCATE creates files, and takes longer.
EMPTY = f"""
DO $$ DECLARE name text; BEGIN
    FOR name IN
        SELECT nspname FROM pg_namespace n
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', '{SERVICE_SCHEMA}')
          AND (nspname <> 'public' OR EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid))
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA IF NOT EXISTS public;
END $$;
DELETE FROM {SERVICE_SCHEMA}.webhooks;
DELETE FROM {SERVICE_SCHEMA}.module_conditions;
DELETE FROM {SERVICE_SCHEMA}.pgqueuer;
DELETE FROM {SERVICE_SCHEMA}.runs;
DELETE FROM {SERVICE_SCHEMA}.freezes;
DELETE FROM {SERVICE_SCHEMA}.last_runs;
DELETE FROM {SERVICE_SCHEMA}.schema_summaries;
DELETE FROM {SERVICE_SCHEMA}.modules;
DELETE FROM {SERVICE_SCHEMA}.registrations;
DELETE FROM {SERVICE_SCHEMA}.bundle_files;
DELETE FROM {SERVICE_SCHEMA}.bundles;
DELETE FROM {SERVICE_SCHEMA}.file_contents;
DELETE FROM {SERVICE_SCHEMA}.audit;
DELETE FROM {SERVICE_SCHEMA}.tokens WHERE created_by <> '{KEPT}';
UPDATE {SERVICE_SCHEMA}.registry_version SET version = version + 1;
"""


_MOST_DEADLOCKS = 5


class Direct:
    """Connects on first use, and stays connected: a connection for each query is expensive."""

    def __init__(self, database: str) -> None:
        self.database = database
        self._pool: asyncpg.Pool[Any] | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._one_at_a_time = threading.Lock()

    def sql(self, query: str, *args: Any) -> list[Any]:
        """The rows. Repeated if the statement and one of the service's were waiting for each other."""

        async def fetch() -> list[Any]:
            return list(await (await self._connected()).fetch(query, *args))

        for _ in range(_MOST_DEADLOCKS):
            with contextlib.suppress(asyncpg.DeadlockDetectedError):
                return self._run(fetch())
        return self._run(fetch())

    def make_token(self, *scopes: str, name: str | None = None, expires: str = "1h", by: str = "test") -> str:
        async def make() -> str:
            db = AsyncDatabaseManager(pool=await self._connected(), schema=SERVICE_SCHEMA)
            return (await create_token(db, name or uuid.uuid4().hex, scopes, expires, by)).token

        return self._run(make())

    def empty(self) -> bool:
        """Empty it once running work has ended; returns whether any modules were registered."""

        async def empty() -> bool:
            pool = await self._connected()
            async with asyncio.timeout(30):
                while await pool.fetchval(ACTIVE):
                    await pool.execute(CANCEL_SLEEPING)
                    await asyncio.sleep(0.01)
            registered = await pool.fetchval(f"SELECT EXISTS (SELECT FROM {SERVICE_SCHEMA}.modules)")
            await pool.execute(EMPTY)
            return bool(registered)

        return self._run(empty())

    def close(self) -> None:
        if self._pool is not None:
            self._run(self._pool.close())
        self._runner.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        with self._one_at_a_time:
            return self._runner.run(work)

    async def _connected(self) -> asyncpg.Pool[Any]:
        if self._pool is None:
            # Statements are not kept: tables come and go under the same names.
            self._pool = await asyncpg.create_pool(
                self.database,
                min_size=0,
                max_size=1,
                max_inactive_connection_lifetime=0,
                statement_cache_size=0,
            )
        return self._pool
