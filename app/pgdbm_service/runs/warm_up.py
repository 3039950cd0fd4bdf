"""Executes the statements of a run on the connections that the pool keeps open, and rolls them back.

On each connection, the first run would otherwise wait until its statements are parsed, and until the catalogs that they
read are loaded.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from pgdbm.core.pool import ConfiguredPool
from pgdbm.core.transaction import TransactionManager
from pgdbm.migrations.state.catalog import read_tables
from pgdbm.sql import statement as library_statement

from ..api.runs import Progress, RunOptions
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from ..registry.store import rehearse_bundle
from ..status.summaries import rehearse_summary
from .queue import Item, enqueue
from .store import ALONE, as_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    from ..database.pool import Database

# Requests that waited for the service to start are answered first.
_AFTER_S = 0.3

logger = structlog.get_logger("pgdbm_service")


class _RolledBackError(Exception):
    """Rolls back the transaction that it leaves."""


@asynccontextmanager
async def _rolled_back(connection: PoolConnectionProxy[Record]) -> AsyncIterator[TransactionManager]:
    with suppress(_RolledBackError):
        async with TransactionManager(SERVICE_SCHEMA, connection=connection) as tx:
            yield tx
            raise _RolledBackError


class WarmUp:
    """Uses as many connections as ``connections``."""

    def __init__(self, database: Database, connections: int) -> None:
        self._database = database
        self._connections = connections

    async def run(self) -> None:
        """Warm up the connections, once the service is connected. A failure is logged, and has no other effect."""
        await self._database.connected.wait()
        await asyncio.sleep(_AFTER_S)
        try:
            await self.rehearse()
        except Exception as error:
            logger.info("connections not warmed up", error_type=type(error).__name__, reason=str(error))

    async def rehearse(self) -> None:
        """Execute the statements on each connection. Raises what the database raises."""
        db = self._database.manager(SERVICE_SCHEMA)
        async with AsyncExitStack() as stack:
            # The pool gives out the connection that was used last, so all of them are held.
            held = [await stack.enter_async_context(db.acquire()) for _ in range(self._connections)]
            for connection in held:
                await self._rehearse(connection)
            if held and isinstance(db.pool, ConfiguredPool):
                db.pool.has_planned = True

    async def _rehearse(self, connection: PoolConnectionProxy[Record]) -> None:
        """What a request and a worker execute for a run. Its rows do not exist: each statement is rolled back before
        the next one, so that it holds its locks only briefly."""

        async def execute(name: str, *args: object, area: str = "runs") -> None:
            async with _rolled_back(connection) as tx:
                await tx.fetch_all(statement(area, name), *args)

        run, replica = uuid4(), uuid4()
        module = schema = digest = str(run)
        progress = as_json(Progress(pending_count=1))
        async with _rolled_back(connection) as tx:
            await rehearse_bundle(tx, digest)
        await execute(
            "create",
            *(run, module, as_json(RunOptions()), digest, digest, "", None, None, [schema], ["1"]),
            *(None, digest, None, None, None, None, 0),
        )
        async with _rolled_back(connection) as tx:
            await enqueue(tx.connection, [Item(run, 1)], priority=ALONE)
        await execute("newest_event", run, area="run_queries")
        await self._database.check_tables(connection, self._database.table_id)
        await execute("due_in")
        await execute("take", run)
        await execute("unfinished", run, 1, 1.0)
        await execute("start_schema", run, schema, replica)
        await execute("record_progress", run, schema, 1, ["progress"], ["{}"], progress, None, [schema])
        await connection.fetchval(library_statement("runner", "is_audited"))
        await read_tables(connection, SERVICE_SCHEMA, (), ["replicas"], [])
        await execute("complete_schema", run, schema, [schema], ["1"], 0, 1, 1.0)
        async with _rolled_back(connection) as tx:
            await rehearse_summary(tx, module, str(run))
        await execute("mark_summarized", run, 1)
        await execute("release_chunks", run)
        await execute("finish", run)
        await execute("parents", run, area="run_children")
        await execute("outcome", run, 1, area="run_queries")
