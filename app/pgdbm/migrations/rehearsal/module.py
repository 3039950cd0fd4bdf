"""Rehearsals of a module: of what is pending, with its fixes, and of what a baseline skips."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..engine.inspection import inspect_pending
from ..results import NO_LIMITS
from ..state.catalog import read_catalog
from ..state.snapshots import own_tables
from .baseline import require_same
from .fix_proof import rehearse_fixes
from .run import rehearse

if TYPE_CHECKING:
    from ..engine.engine import MigrationEngine
    from ..results import PlanLimits
    from .results import Rehearsal


async def rehearse_pending(
    engine: MigrationEngine,
    limits: PlanLimits,
    *,
    target: str | None,
    timeout: float | None,
    with_catalog: bool = False,
    fix: bool = False,
) -> Rehearsal:
    """Rehearse the history of ``engine`` and what is pending up to ``target``; ``fix``: the fixes as well.

    The other parameters, and the errors, are those of :func:`~pgdbm.migrations.rehearsal.run.rehearse`.
    """
    run = partial(
        rehearse,
        engine.db,
        history=engine.history,
        out_of_order=engine.options.out_of_order,
        timeout=timeout,
        lock_timeout=engine.options.lock_timeout,
        role=engine.options.role,
        with_catalog=with_catalog,
    )
    migrations = await engine.collect()
    if not fix:
        return await run(migrations, target=target)
    plan = await inspect_pending(engine, target, squawk=False, limits=limits)
    return await rehearse_fixes(run, migrations, plan.pending, target)


async def require_baseline(engine: MigrationEngine, version: str, timeout: float | None = 300.0) -> None:
    """Raise BaselineMismatchError if the schema differs from what the migrations up to ``version`` would build.

    ``timeout`` (seconds, None: no limit) limits their rehearsal.
    """
    rehearsal = await rehearse_pending(engine, NO_LIMITS, target=version, timeout=timeout, with_catalog=True)
    history = engine.history
    async with engine.db.acquire() as connection:
        found = await read_catalog(connection, history.schema, own_tables([history.table_name]))
    require_same(rehearsal, found, history.schema, version)
