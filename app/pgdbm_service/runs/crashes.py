"""Attempts after a replica died during one: they start one after the other, and after the second death not at all."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from ..errors import ServiceError
from .plan_checks import applied_steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..registry.modules import Module
    from ..status.module_lookup import ModuleLookup
    from .stored_runs import StartedSchema, TakenRun, UnfinishedSchema

_MOST_DEATHS = 2
_SUSPECT_S = 10.0


class Suspects:
    """The schemas whose replica died: one of them may be what kills replicas."""

    def __init__(self, lookup: ModuleLookup) -> None:
        self._lookup = lookup
        self._starting = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def one_by_one(self, unfinished: UnfinishedSchema) -> AsyncIterator[None]:
        """A block in which no other suspect starts, to find the one that kills replicas; for ten seconds at most."""
        if not unfinished.is_started:
            yield
            return
        await self._starting.acquire()
        held = [self._starting]

        def release() -> None:
            if held:
                held.pop().release()

        # Not held for the duration of a long statement.
        timer = asyncio.get_running_loop().call_later(_SUSPECT_S, release)
        try:
            yield
        finally:
            timer.cancel()
            release()

    async def require_harmless(self, run: TakenRun, module: Module, started: StartedSchema) -> None:
        """Raise a ServiceError (run_poisoned) if migrating the schema has killed replicas."""
        if started.replica_crashes < _MOST_DEATHS:
            return
        filename = started.filename
        if started.pending:
            applied = await applied_steps(await self._lookup.reader(module, started.schema), started.pending)
            left = [name for name in started.pending if name not in {step.filename for step in applied}]
            if filename not in left:
                filename = left[0] if left else None
        raise ServiceError(
            "run_poisoned",
            f"{started.replica_crashes} replicas died while they migrated {run.module} in schema {started.schema}"
            f"{f', at the file {filename}' if filename else ''}. The run is not retried. Applied migrations stay.",
            filename=filename,
            replica_crashes=started.replica_crashes,
        )
