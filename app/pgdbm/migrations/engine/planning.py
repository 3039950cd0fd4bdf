"""Planning on the server while this process loads the parser: in the first run both take most of the time."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from ...core.asyncpg_errors import FAILURES
from ...core.pool import ConfiguredPool, without_reset
from ...errors import AsyncDBError
from .touched import MOST_FILES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .engine import MigrationEngine
    from .plan import Plan

_PARSER = "pgdbm.migrations.sources.batches"


@asynccontextmanager
async def planning_concurrently(engine: MigrationEngine, plan: Plan) -> AsyncIterator[None]:
    """Let the server plan the queries for the snapshot that follows ``plan`` while the block loads the parser.

    A session keeps plans, and what it has read of the catalogs. If the parser is loaded already, the block takes less
    time than planning.
    """
    pool = engine.db.pool
    if (
        _PARSER in sys.modules
        or not isinstance(pool, ConfiguredPool)
        or not pool.config.statement_cache_size
        or not engine.options.snapshots
        or not plan.skipped
        or not 0 < len(plan.pending) <= MOST_FILES
    ):
        yield
        return
    planning = asyncio.create_task(_plan(engine))
    try:
        # Its first statement is sent before the block uses this thread.
        await asyncio.sleep(0)
        yield
    except BaseException:
        planning.cancel()
        await asyncio.gather(planning, return_exceptions=True)
        raise
    await planning


async def _plan(engine: MigrationEngine) -> None:
    from ..state.catalog import plan_tables  # imported lazily: most runs have nothing to apply

    # Whatever is wrong is reported when the snapshot is taken.
    with without_reset(), suppress(AsyncDBError, *FAILURES):
        async with engine.db.acquire() as connection:
            await plan_tables(connection, engine.history.schema)
