"""The tables of PgQueuer in the service's own schema, which PgQueuer creates and upgrades."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver, AsyncpgPoolDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel

from pgdbm.core.manager import AsyncDatabaseManager

from .service_schema import SERVICE_SCHEMA

if TYPE_CHECKING:
    from pgqueuer.ports.driver import Driver

# Every name is set: PgQueuer would take names that are not set from variables such as CHANNEL or DURABILITY.
SETTINGS = DBSettings(
    prefix="",
    db_schema=SERVICE_SCHEMA,
    channel=Channel("pgdbm_service_queue"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.durable,
    widen_id=True,
)


def queries_over(driver: Driver) -> Queries:
    """PgQueuer's queries on the tables in the service schema."""
    return Queries(
        driver,
        qbe=QueryBuilderEnvironment(SETTINGS),
        qbq=QueryQueueBuilder(SETTINGS),
        qbs=QuerySchedulerBuilder(SETTINGS),
    )


async def prepare_queue(pool: asyncpg.Pool[asyncpg.Record]) -> None:
    """Create the tables of the queue, or upgrade them for this release of PgQueuer. Replicas take turns.

    Raises asyncpg's errors.
    """
    db = AsyncDatabaseManager(pool=pool)
    # Usually there is nothing to do.
    if not (await queries_over(AsyncpgPoolDriver(pool)).plan_upgrade()).statements:
        return
    # PgQueuer's lock is a session lock.
    async with db.acquire_direct() as connection:
        assert isinstance(connection, asyncpg.Connection)
        queries = queries_over(AsyncpgDriver(connection))
        async with queries.schema_lock():
            if not await queries.schema_is_installed():
                await queries.install(create_schema=False)
        await queries.upgrade()
