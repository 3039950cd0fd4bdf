"""The states of modules and runs, sampled periodically, so that a scrape does not wait for the database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import structlog

from pgdbm.core.pool import without_reset

from ..database.failures import is_unavailable, log_failure, service_error_of
from ..database.periodic import cancelled_at_end
from ..status.invalid_indexes import invalid_indexes, of_module

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping

    from ..database.pool import Database
    from ..registry.modules import Module, Registry
    from ..status.module_lookup import ModuleLookup
    from ..status.summaries import AppliedSetCounts, Summaries

RunStatus = Literal["success", "up_to_date", "failed", "cancelled"]

_MODULES_PER_BATCH = 50
# Without a scrape since the last sample, only every fourth one is taken.
_PERIODS_UNREAD = 4

logger = structlog.get_logger("pgdbm_service")


@dataclass(frozen=True, slots=True)
class ModuleSample:
    """For a module, in its ``schemas`` schemas: how many migrations are pending; how many have changed since they were
    applied, and which; in how many schemas any are pending; and how many indexes are INVALID.
    """

    schemas: int
    behind: int
    pending: int
    changed: int
    invalid_indexes: int = 0
    changed_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunsSample:
    """For a module's runs that have not ended: the longest time without an event, and how many schemas wait."""

    quiet_s: float = 0.0
    blocked: int = 0
    waiting_for_approval: int = 0
    held: int = 0


class RunActivity(Protocol):
    """The status of the runs that have not ended and of the replicas, from their rows."""

    def activity(self) -> Coroutine[Any, Any, Mapping[str, tuple[float, int, int, int]]]:
        """By module: seconds without an event, schemas that wait, runs that wait for approvals, runs that are held."""
        ...

    def replicas(self) -> Coroutine[Any, Any, int]:
        """The number of replicas that are alive."""
        ...


class StateSampler:
    """Keeps the last sample. While the database is unavailable, the previous sample stays.

    A sample takes a few queries, however many schemas there are.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        lookup: ModuleLookup,
        summaries: Summaries,
        records: RunActivity,
        period_s: float,
    ) -> None:
        self._database = database
        self._registry = registry
        self._lookup = lookup
        self._summaries = summaries
        self._records = records
        self._period_s = period_s
        self.modules: Mapping[str, ModuleSample] = {}
        self.runs: Mapping[str, RunsSample] = {}
        self.replicas = 0
        self.database_up = False
        self.sampled_at = 0.0
        self.on_module: Callable[[str], None] = lambda _: None
        self.on_sample: Callable[[Mapping[str, ModuleSample], Collection[str]], Awaitable[None]] | None = None
        self._is_read = True
        self._unread = 0

    @property
    def is_ready(self) -> bool:
        """Whether the service could use the database, and has read what is registered."""
        return self.database_up and self._registry.is_complete

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """Take a sample every ``period_s`` during the block."""
        async with cancelled_at_end(asyncio.create_task(self._run(), name="sample the states of modules")):
            yield

    def note_read(self) -> None:
        """Record that the sample was read, so that the next one is taken after one period."""
        self._is_read = True

    async def sample(self) -> None:
        """Check the database, and take a sample if the last one was read, or is four periods old."""
        try:
            with without_reset():
                await self._database.check_fit()
                was_up, self.database_up = self.database_up, True
                self._unread += 1
                if self._is_read or not was_up or self._unread >= _PERIODS_UNREAD:
                    await self._sample()
                    self._is_read, self._unread = False, 0
        except Exception as error:
            problem = service_error_of(error)
            if is_unavailable(problem):
                # Not logged here, because the error is logged where it affects a request or a job.
                self.database_up = False
            else:
                log_failure(problem, error)

    async def _sample(self) -> None:
        self.replicas = await self._database.with_timeout(self._records.replicas())
        activity = await self._database.with_timeout(self._records.activity())
        runs = {name: RunsSample(*sample) for name, sample in activity.items()}
        modules: dict[str, ModuleSample] = {}
        for module in self._registry:
            self.on_module(module.name)
            runs.setdefault(module.name, RunsSample())
        indexes = await self._database.with_timeout(invalid_indexes(self._database.manager()))
        valid = [module for module in self._registry if module.problem is None]
        for start in range(0, len(valid), _MODULES_PER_BATCH):
            some = valid[start : start + _MODULES_PER_BATCH]
            found = await self._database.with_timeout(self._summaries.counts(some))
            for module, counts in zip(some, found, strict=True):
                try:
                    sample = await self._sample_of(module, counts)
                    modules[module.name] = replace(sample, invalid_indexes=len(of_module(indexes, module)))
                except Exception as error:
                    # The module's files or its history cannot be read. The others are sampled.
                    logger.warning("module not sampled", module=module.name, **service_error_of(error).for_log())
        self.modules, self.runs = modules, runs
        self.sampled_at = time.time()
        if self.on_sample is not None and self._registry.is_complete:
            await self.on_sample(modules, [module.name for module in self._registry])

    async def _sample_of(self, module: Module, counts: AppliedSetCounts) -> ModuleSample:
        states = counts.states(await self._lookup.files(module), module.out_of_order)
        return ModuleSample(
            schemas=sum(count for _, count in states),
            behind=sum(count for one, count in states if one.pending),
            pending=sum(one.pending * count for one, count in states),
            changed=sum(one.changed * count for one, count in states),
            changed_files=tuple(dict.fromkeys(name for one, _ in states for name in one.changed_files)),
        )

    async def _run(self) -> None:
        while True:
            await self._database.idle.until_active()
            await self.sample()
            if self._database.connected.is_set():
                await asyncio.sleep(self._period_s)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._period_s):
                        await self._database.connected.wait()
