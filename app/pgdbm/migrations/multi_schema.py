"""One set of migrations for many schemas, such as those of tenants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..core.manager import AsyncDatabaseManager
from ..errors import AsyncDBError, ConfigurationError
from .manager import AsyncMigrationManager

if TYPE_CHECKING:
    import asyncpg

logger = logging.getLogger("pgdbm.migrations")

Schemas = Iterable[str] | AsyncIterable[str]


@dataclass(frozen=True, slots=True)
class SchemaResult:
    """The result of one schema. ``status`` is that of apply, or ``failed`` with the ``error``, or ``not_reached``."""

    schema: str
    status: Literal["success", "up_to_date", "dry_run", "failed", "not_reached"]
    applied: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    total_time_ms: float = 0.0
    error: AsyncDBError | None = None


@dataclass(frozen=True, slots=True)
class MultiSchema:
    """Applies the migrations of ``module_name`` to many schemas over one pool.

    ``concurrency`` limits the number of schemas that are migrated in parallel; keep it below the pool's size. The
    first ``canary`` schemas are migrated one after the other, and a failure there ends the call. ``on_failure``:
    After a failure, ``stop`` starts no further schema; ``continue`` does. ``options`` are those of
    AsyncMigrationManager.

    Every schema has its own statement texts, so a pool for thousands of schemas should have a small
    ``statement_cache_size``.

    Results are yielded as schemas finish, in no particular order, and are not kept: ten thousand schemas need no more
    memory than ten. To retry, give :meth:`apply` the schemas of the results that failed.
    """

    pool: asyncpg.Pool[Any]
    migrations_path: Any
    module_name: str
    concurrency: int = 8
    canary: int = 0
    on_failure: Literal["stop", "continue"] = "stop"
    options: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise ConfigurationError(f"concurrency is {self.concurrency}; it must be at least 1.", "concurrency")
        if self.canary < 0:
            raise ConfigurationError(f"canary is {self.canary}; it must be at least 0.", "canary")
        if self.on_failure not in ("stop", "continue"):
            raise ConfigurationError(f"on_failure is {self.on_failure!r}; choose 'stop' or 'continue'.", "on_failure")

    async def apply(self, schemas: Schemas, *, dry_run: bool = False) -> AsyncIterator[SchemaResult]:
        """Migrate each of ``schemas``, and yield the results."""
        waiting = _each(schemas)
        stopped = False
        for _ in range(self.canary):
            schema = await anext(waiting, None)
            if schema is None:
                return
            result = await self._one(schema, dry_run)
            yield result
            if result.status == "failed":
                logger.warning("The canary %s failed: no other schema is started", schema)
                stopped = True
                break
        running: set[asyncio.Task[SchemaResult]] = set()
        try:
            async for schema in waiting:
                if stopped:
                    yield SchemaResult(schema, "not_reached")
                    continue
                running.add(asyncio.create_task(self._one(schema, dry_run)))
                if len(running) < self.concurrency:
                    continue
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
                    stopped = stopped or (task.result().status == "failed" and self.on_failure == "stop")
            while running:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _one(self, schema: str, dry_run: bool) -> SchemaResult:
        try:
            db = AsyncDatabaseManager(pool=self.pool, schema=schema)
            manager = AsyncMigrationManager(db, self.migrations_path, self.module_name, **(self.options or {}))
            result = await manager.apply_pending_migrations(dry_run=dry_run)
        except AsyncDBError as error:
            return SchemaResult(schema, "failed", error=error)
        return SchemaResult(
            schema,
            result["status"],
            applied=tuple(one["filename"] for one in result["applied"]),
            pending=tuple(result.get("pending", ())),
            total_time_ms=result.get("total_time_ms", 0.0),
        )


async def _each(schemas: Schemas) -> AsyncIterator[str]:
    if isinstance(schemas, AsyncIterable):
        async for schema in schemas:
            yield schema
    else:
        for schema in schemas:
            yield schema


async def schemas_like(db: AsyncDatabaseManager, pattern: str) -> AsyncIterator[str]:
    """The schemas whose names match ``pattern``, with the wildcards ``*`` and ``?``, by name."""
    query = "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname ~ $1 AND nspname !~ '^pg_' ORDER BY nspname"
    async for schema in schemas_from(db, query, expression_of(pattern)):
        yield schema


def expression_of(pattern: str) -> str:
    """``pattern``, with the wildcards ``*`` and ``?``, as a regular expression of PostgreSQL."""
    return "^" + "".join(map(_expression_of_character, pattern)) + "$"


def _expression_of_character(character: str) -> str:
    # Not fnmatch.translate: for two asterisks it writes atomic groups, which PostgreSQL does not have.
    if character.isalnum() or character == "_":
        return character
    return {"*": ".*", "?": "."}.get(character, f"\\{character}")


async def schemas_from(db: AsyncDatabaseManager, query: str, *args: Any) -> AsyncIterator[str]:
    """The schemas in the first column of ``query``, fetched 200 at a time."""
    async with db.acquire() as connection, connection.transaction(readonly=True):
        async for row in connection.cursor(db.prepare_query(query), *args, prefetch=200):
            yield row[0]
