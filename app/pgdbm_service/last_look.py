"""Where the modules stand, looked at now and then: what watches the service must not wait for the database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from .errors import Problem, is_database_away
from .own_schema import OWN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from litestar import Litestar

    from .database import Database
    from .managers import Managers
    from .registry import Module, Registry
    from .summaries import Summaries

RunStatus = Literal["success", "up_to_date", "failed", "cancelled"]

# An instance renews its row every few seconds.
_INSTANCES = """
SELECT pg_catalog.count(*) FROM {{tables.instances}}
WHERE seen_at > pg_catalog.now() - interval '30 seconds'
"""

# Of the runs that have not ended: how long the quietest has said nothing, and in how many schemas one waits.
_RUNS = """
SELECT r.module, EXTRACT(epoch FROM now() - min(last.at))::float8 AS quiet_s, sum(waiting.schemas)::int AS blocked
FROM {{tables.runs}} r
CROSS JOIN LATERAL (SELECT e.at FROM {{tables.run_events}} e WHERE e.run = r.id ORDER BY e.number DESC LIMIT 1) AS last
CROSS JOIN LATERAL (SELECT count(*) AS schemas FROM {{tables.run_schemas}} s
                    WHERE s.run = r.id AND s.status = 'running'
                      AND s.progress ?| ARRAY['waiting_for', 'holder']) AS waiting
WHERE r.status IN ('queued', 'running')
GROUP BY r.module
"""

logger = structlog.get_logger("pgdbm_service")


@dataclass(frozen=True, slots=True)
class ModuleStanding:
    """Over ``schemas`` schemas: how many migrations are pending or have changed, and in how many schemas any pends."""

    schemas: int
    behind: int
    pending: int
    changed: int


@dataclass(frozen=True, slots=True)
class RunsStanding:
    """Of a module's runs that have not ended: how long none of them said anything, and how many schemas wait."""

    quiet_s: float = 0.0
    blocked: int = 0


class LastLook:
    """What the last look saw; it stays when a later one sees nothing.

    A look takes what the lists of modules take: a few queries, however many schemas there are.
    """

    def __init__(
        self, database: Database, registry: Registry, managers: Managers, summaries: Summaries, period_s: float
    ) -> None:
        self._database = database
        self._registry = registry
        self._managers = managers
        self._summaries = summaries
        self._period_s = period_s
        self.modules: Mapping[str, ModuleStanding] = {}
        self.runs: Mapping[str, RunsStanding] = {}
        self.instances = 0
        self.database_up = False
        self.looked_at = 0.0
        self.on_module: Callable[[str], None] = lambda _: None

    @property
    def is_well(self) -> bool:
        """Whether the database answered, and it is known what is registered."""
        return self.database_up and self._registry.is_complete

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Litestar) -> AsyncIterator[None]:
        """Look, for the length of the block, every ``period_s``."""
        task = asyncio.create_task(self._keep_looking(), name="look at the modules")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def look(self) -> None:
        """Look once. A database that is away leaves what was seen before, and is what is seen now."""
        try:
            await self._database.check()
            self.database_up = True
            await self._look()
        except Exception as error:
            if not (isinstance(error, Problem) or is_database_away(error)):
                logger.error("looking at the modules failed", exc_info=error)
                return
            self.database_up = not _is_away(error)
            logger.debug("looking at the modules failed", reason=str(error))

    async def _look(self) -> None:
        own = self._database.manager(OWN_SCHEMA)
        self.instances = await self._database.within_limit(own.fetch_value(_INSTANCES))
        rows = await self._database.within_limit(own.fetch_all(_RUNS))
        runs = {row["module"]: RunsStanding(row["quiet_s"], row["blocked"]) for row in rows}
        seen: dict[str, ModuleStanding] = {}
        for module in self._registry:
            self.on_module(module.name)
            runs.setdefault(module.name, RunsStanding())
            if module.problem is None:
                try:
                    seen[module.name] = await self._look_at(module)
                except Exception as error:
                    if _is_away(error):
                        raise
                    # One that cannot be read, by its files or by its tables, must not hide the others.
                    logger.warning("looking at a module failed", module=module.name, reason=str(error))
        self.modules, self.runs = seen, runs
        self.looked_at = time.time()

    async def _look_at(self, module: Module) -> ModuleStanding:
        (shapes,) = await self._database.within_limit(self._summaries.shapes([module]))
        standings = shapes.standings(await self._managers.files(module), module.out_of_order)
        return ModuleStanding(
            schemas=sum(count for _, count in standings),
            behind=sum(count for standing, count in standings if standing.pending),
            pending=sum(standing.pending * count for standing, count in standings),
            changed=sum(standing.changed * count for standing, count in standings),
        )

    async def _keep_looking(self) -> None:
        while True:
            await self.look()
            if self._database.connected.is_set():
                await asyncio.sleep(self._period_s)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._period_s):
                        await self._database.connected.wait()


def _is_away(error: BaseException) -> bool:
    if isinstance(error, Problem):
        return error.code == "database_unavailable"
    return is_database_away(error)
