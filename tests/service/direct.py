"""The database of a service, reached without it."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import TYPE_CHECKING, Any

import asyncpg

from pgdbm import AsyncDatabaseManager
from pgdbm_service.auth.tokens import create_token
from pgdbm_service.own_schema import OWN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Coroutine

KEPT = "a token that is kept"
UNDER_WAY = """
SELECT EXISTS (SELECT FROM pgdbm_service.runs WHERE status IN ('queued', 'running'))
    OR EXISTS (SELECT FROM pgdbm_service.pgqueuer)
"""
# What a test that failed has left.
CANCEL_SLEEPING = """
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'
"""
# Shapes stay: a service remembers which of them it has kept. TRUNCATE makes files, and takes longer.
EMPTY = f"""
DO $$ DECLARE name text; BEGIN
    FOR name IN
        SELECT nspname FROM pg_namespace n
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', '{OWN_SCHEMA}')
          AND (nspname <> 'public' OR EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid))
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA IF NOT EXISTS public;
END $$;
DELETE FROM {OWN_SCHEMA}.runs;
DELETE FROM {OWN_SCHEMA}.last_runs;
DELETE FROM {OWN_SCHEMA}.schema_summaries;
DELETE FROM {OWN_SCHEMA}.modules;
DELETE FROM {OWN_SCHEMA}.registrations;
DELETE FROM {OWN_SCHEMA}.bundle_files;
DELETE FROM {OWN_SCHEMA}.bundles;
DELETE FROM {OWN_SCHEMA}.file_contents;
DELETE FROM {OWN_SCHEMA}.audit;
DELETE FROM {OWN_SCHEMA}.tokens WHERE created_by <> '{KEPT}';
UPDATE {OWN_SCHEMA}.registry_version SET version = version + 1;
"""


class Direct:
    """Connects when it is first asked for something, and stays connected: a connection for each query is dear."""

    def __init__(self, database: str) -> None:
        self.database = database
        self._pool: asyncpg.Pool[Any] | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._one_at_a_time = threading.Lock()

    def sql(self, query: str, *args: Any) -> list[Any]:
        """The rows."""

        async def fetch() -> list[Any]:
            return list(await (await self._connected()).fetch(query, *args))

        return self._run(fetch())

    def make_token(self, *scopes: str, name: str | None = None, expires: str = "1h", by: str = "test") -> str:
        async def make() -> str:
            db = AsyncDatabaseManager(pool=await self._connected(), schema=OWN_SCHEMA)
            return (await create_token(db, name or uuid.uuid4().hex, scopes, expires, by)).token

        return self._run(make())

    def empty(self) -> bool:
        """Make it as no service has left it, once what runs has ended; whether any modules were registered."""

        async def empty() -> bool:
            pool = await self._connected()
            async with asyncio.timeout(30):
                while await pool.fetchval(UNDER_WAY):
                    await pool.execute(CANCEL_SLEEPING)
                    await asyncio.sleep(0.01)
            registered = await pool.fetchval(f"SELECT EXISTS (SELECT FROM {OWN_SCHEMA}.modules)")
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
