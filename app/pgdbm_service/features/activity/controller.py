"""GET /activity/blocking, /activity/long-running, /activity/pool, and /metrics."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, get, post
from litestar.params import Body, Parameter

from ...api.activity import BlockingTree, LongRunningList, PoolState, TerminateBody, TerminatedBackend
from ...database.pool import Database
from ...database.slots import Slots
from ...observability.metrics import CONTENT_TYPE, Metrics
from ...runs.service import RunService
from ...web.openapi import OptionalBodyOperation
from ...web.problems import error_responses
from .queries import blocking_tree, long_running, pool_state
from .termination import terminate

_READ = ("database_unavailable", "lock_timeout")


class ActivityController(Controller):
    path = "/activity"
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's
    tags = ("activity",)

    @get("/blocking", responses=error_responses(*_READ))
    async def list_blocking(self, database: Database) -> BlockingTree:
        """Backends that wait for locks, as trees under the ones that block them and do not wait themselves."""
        return BlockingTree(await database.with_timeout(blocking_tree(database.manager())))

    @get("/long-running", responses=error_responses(*_READ))
    async def list_long_running(
        self,
        database: Database,
        threshold_s: Annotated[
            float, Parameter(ge=0, le=86400 * 365, description="The minimum duration in seconds.")
        ] = 300.0,
    ) -> LongRunningList:
        """Queries, and idle transactions, that started at least `threshold_s` seconds ago, longest first."""
        return LongRunningList(await database.with_timeout(long_running(database.manager(), threshold_s)))

    @get("/pool", responses=error_responses())
    async def get_pool(self, database: Database, slots: Slots) -> PoolState:
        """The connections of this replica, and its slots for migrations. Does not query the database."""
        return pool_state(database, slots)

    @post(
        "/backends/{pid:int}/terminate",
        status_code=200,
        opt={"needs": "admin"},
        operation_class=OptionalBodyOperation,
        responses=error_responses("cross_origin", "backend_unknown", "backend_not_blocking", *_READ),
    )
    async def terminate_backend(
        self,
        database: Database,
        runs: RunService,
        pid: int,
        data: Annotated[TerminateBody | None, Body(description="May be left out.")] = None,
    ) -> TerminatedBackend:
        """End a session that is blocking a migration now, or that `backend_start` identifies. Its transaction is rolled
        back."""
        migrating = await database.with_timeout(runs.recent.backends())
        backend_start = None if data is None else data.backend_start
        return await database.with_timeout(terminate(database.manager(), pid, migrating, backend_start))


@get("/metrics", tags=["activity"], opt={"needs": "metrics"}, media_type=CONTENT_TYPE, responses=error_responses())
async def show_metrics(metrics: Metrics) -> Response[bytes]:
    """All metrics in Prometheus' text format. Does not query the database."""
    return Response(metrics.text(), media_type=CONTENT_TYPE)
