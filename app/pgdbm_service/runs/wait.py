"""Waiting for the end of a run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from ..errors import ServiceError, from_document

if TYPE_CHECKING:
    from uuid import UUID

    from ..api.runs import MigrateAllResult, MigrateResult
    from .queries import Outcome, RunQueries
    from .streams import RunStreams
    from .worker import Worker

R = TypeVar("R")

_IS_STORED = (
    "\nThis is the stored result for the Idempotency-Key, from a run with the same files. To migrate again, send a "
    "different key, or none."
)


class RunWaiter:
    def __init__(self, queries: RunQueries, streams: RunStreams, worker: Worker) -> None:
        self._queries = queries
        self._streams = streams
        self._worker = worker

    async def result(self, run: UUID, wait_s: float | None, kind: type[R], *, is_stored: bool = False) -> R | UUID:
        """The result of ``run``, of the type ``kind``, or its id if it has not ended after ``wait_s`` seconds.

        ``is_stored``: the run had already ended; an error then says that it is the stored result of the
        Idempotency-Key.

        Raises:
            ServiceError: why it failed, with ``run_id``; shutting_down, if this replica stops before it ends.
        """
        if wait_s is not None and wait_s <= 0:
            return run
        outcome = None
        if not is_stored:
            try:
                async with asyncio.timeout(wait_s):
                    outcome = await self._until_end(run)
            except TimeoutError:
                return run
        outcome = outcome or await self._queries.outcome(run)
        if is_stored and outcome.problem is not None:
            outcome.problem["detail"] += _IS_STORED
        result = _result_of(run, outcome)
        assert isinstance(result, kind)
        return result

    async def result_of_ended(self, run: UUID) -> MigrateResult | MigrateAllResult:
        """The result of ``run``, which has ended. Waits while the database is unavailable.

        Raises:
            ServiceError: why it failed, with ``run_id``.
        """
        return _result_of(run, await self._streams.outcome(run))

    async def _until_end(self, run: UUID) -> Outcome | None:
        """Return when the run has ended, or this replica is stopping and is not processing it. The outcome, if it has
        been read."""
        async with self._streams.follow(run, for_end=True) as stream:
            while not stream.is_over:
                changed = stream.changed
                if self._streams.stopping:
                    await self._worker.until_idle(run)
                    break
                if not stream.is_over:
                    await changed.wait()
            # For one follower: it may add something to the result.
            outcome, stream.outcome = stream.outcome, None
            return outcome


def _result_of(run: UUID, outcome: Outcome) -> MigrateResult | MigrateAllResult:
    if outcome.result is not None:
        return outcome.result
    if outcome.problem is not None:
        raise from_document(outcome.problem | {"run_id": str(run)})
    if outcome.status == "cancelled":
        raise ServiceError("run_cancelled", f"Run {run} was cancelled before it started.", run_id=str(run))
    raise ServiceError(
        "shutting_down", f"The service is stopping. Another replica will continue run {run}.", run_id=str(run)
    )
