"""The tables of PgQueuer in the service's own schema: PgQueuer makes them, and brings them up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel

from pgdbm.core.manager import AsyncDatabaseManager

from .own_schema import OWN_SCHEMA

if TYPE_CHECKING:
    import asyncpg
    from pgqueuer.ports.driver import Driver

# Every name is given: PgQueuer would take those that are not from variables such as CHANNEL or DURABILITY.
SETTINGS = DBSettings(
    prefix="",
    db_schema=OWN_SCHEMA,
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
    """PgQueuer's queries on the tables in our schema."""
    return Queries(
        driver,
        qbe=QueryBuilderEnvironment(SETTINGS),
        qbq=QueryQueueBuilder(SETTINGS),
        qbs=QuerySchedulerBuilder(SETTINGS),
    )


async def prepare_queue(pool: asyncpg.Pool[Any]) -> None:
    """Make the tables of the queue, or what a later release of PgQueuer wants of them. Replicas take turns.

    Raises asyncpg's errors.
    """
    db = AsyncDatabaseManager(pool=pool)
    async with db.acquire() as connection:
        # As nearly always. It looks at every column.
        if not (await queries_over(AsyncpgDriver(connection)).plan_upgrade()).statements:
            return
    # PgQueuer's lock is the session's.
    async with db.acquire_direct() as connection:
        queries = queries_over(AsyncpgDriver(connection))
        async with queries.schema_lock():
            if not await queries.schema_is_installed():
                await queries.install(create_schema=False)
        await queries.upgrade()
