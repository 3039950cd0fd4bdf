"""GET /activity/blocking, /activity/long-running, /activity/pool, and /metrics."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get
from litestar.params import Parameter

from ..database import Database
from ..errors import documented
from ..executor import Executor
from ..metrics import CONTENT_TYPE, Metrics
from .queries import blocking_tree, long_running
from .structs import BlockingTree, LongRunningList, PoolState

_READ = ("database_unavailable", "lock_timeout")


class ActivityController(Controller):
    path = "/activity"
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's
    tags = ("activity",)

    @get("/blocking", responses=documented(*_READ))
    async def list_blocking(self, database: Database) -> BlockingTree:
        """Who waits for whose lock in the database, as trees below those that wait for nobody."""
        return BlockingTree(await database.within_limit(blocking_tree(database.manager())))

    @get("/long-running", responses=documented(*_READ))
    async def list_long_running(
        self,
        database: Database,
        threshold_s: Annotated[
            float, Parameter(ge=0, le=86400 * 365, description="Seconds that a query has to have taken.")
        ] = 300.0,
    ) -> LongRunningList:
        """Queries, and transactions that are idle, which began so long ago; longest first."""
        return LongRunningList(await database.within_limit(long_running(database.manager(), threshold_s)))

    @get("/pool", responses=documented())
    async def get_pool(self, database: Database, executor: Executor) -> PoolState:
        """The connections of this instance, and who has a turn at migrating. Asks no database."""
        pool = database.pool_numbers()
        return PoolState(
            size=pool.size,
            free=pool.size - pool.used,
            used=pool.used,
            max=pool.max,
            migrating=executor.migrating,
            migrating_max=executor.limit,
            waiting=executor.waiting,
        )


@get("/metrics", tags=["activity"], opt={"needs": "metrics"}, media_type=CONTENT_TYPE, responses=documented())
async def show_metrics(metrics: Metrics) -> Response[bytes]:
    """Everything that is counted, in Prometheus' text format. Asks no database."""
    return Response(metrics.text(), media_type=CONTENT_TYPE)
