"""The outcome of a run: its result, and what was committed before the connection was lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ...core.asyncpg_errors import FAILURES
from ...core.pool import without_reset
from ...errors import AsyncDBError, ConnectionError
from ...sql import statement
from ..results import Applied, ApplyResult, Renamed
from .retries import until_reachable
from .run import lost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..sources.parser import ParsedMigration
    from .engine import MigrationEngine
    from .plan import Plan
    from .run import Run

logger = logging.getLogger("pgdbm.migrations")


async def result_of(engine: MigrationEngine, run: Run, plan: Plan, *, dry_run: bool = False) -> ApplyResult:
    """The result of ``run``, given the ``plan`` that it ended with. Stores a snapshot if it has applied something."""
    times: dict[str, int] = {}
    if run.applied:
        try:
            with without_reset():
                async with engine.db.acquire() as connection:
                    missing = [name for name in run.applied if name not in run.times]
                    if missing:
                        run.times |= await engine.history.times(connection, missing)
                    times = run.times
                    await engine.save_snapshot(connection, run)
        except (AsyncDBError, *FAILURES) as error:
            # The migrations are durable by now; this failure does not matter.
            logger.warning("The execution times of the migrations could not be read: %s", error)
        engine.announcer.emit("run_ended", execution_time_ms=run.milliseconds)
    applied_here = set(run.applied)
    skipped = tuple([one.filename for one in plan.skipped if one.filename not in applied_here])
    return ApplyResult(
        status="dry_run" if dry_run else "success" if run.applied else "up_to_date",
        applied=tuple(Applied(name, times.get(name, 0)) for name in run.applied),
        skipped=skipped,
        pending=tuple(one.filename for one in plan.pending) if dry_run else (),
        total=len(plan.pending) + len(plan.skipped) + len(plan.beyond_target),
        total_time_ms=run.milliseconds,
        renamed=tuple(Renamed(*names) for names in (plan.renamed if dry_run else run.renamed).items()),
        notices=tuple(run.notices.notices),
        omitted_notices=run.notices.omitted,
    )


async def read_outcome(
    engine: MigrationEngine, run: Run, parsed: Sequence[ParsedMigration], error: BaseException
) -> None:
    """After the connection was lost with ``error``: read what was committed. Returns normally if all of ``parsed`` was
    committed.

    Raises:
        ConnectionError: some migrations were not applied, or the server cannot be reached.
        MigrationExecutionError: a file has ended its own session at the same place for the second time.
    """

    async def read() -> dict[str, str]:
        # Until the server notices the loss, the session continues and holds the lock.
        await engine.lock.wait_until_free(engine.db)
        async with engine.db.acquire() as connection:
            found = await engine.history.applied(connection) or {}
            await connection.execute(statement("locks", "flush"))
            return found

    try:
        applied = await until_reachable(read, engine.options.reconnect_for)
    except (AsyncDBError, *FAILURES) as away:
        raise ConnectionError(
            f"{lost(error)} What was committed could not be read ({away}). Run it again: that reads what was "
            f"committed and applies the rest.",
            details={"applied": run.applied[: run.durable], "error_type": type(error).__name__},
        ) from error
    missing = []
    left: list[ParsedMigration] = []
    for migration in parsed:
        if applied.get(migration.filename) != migration.migration.checksum:
            missing.append(migration.filename)
            left.append(migration)
        elif migration.filename not in run.applied:
            run.applied.append(migration.filename)
    # A server that crashed may have lost asynchronous commits.
    run.applied = [filename for filename in run.applied if filename not in missing]
    run.durable = len(run.applied)
    if missing:
        from .lost_sessions import own_end

        failure = await own_end(engine, run, left, error)
        if failure is not None:
            raise failure from error
        raise ConnectionError(
            f"{lost(error)} {len(run.applied)} of them are applied; {missing[0]} is not. Run again.",
            details={"applied": list(run.applied), "pending": missing, "error_type": type(error).__name__},
        ) from error
