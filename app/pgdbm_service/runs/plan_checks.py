"""Compares what is pending with the requested plan, and the history with what was applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgdbm.errors import ConfigurationError, MigrationError
from pgdbm.migrations.engine.migration_plan import plan_digest

from ..errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgdbm.errors import AsyncDBError
    from pgdbm.migrations import AsyncMigrationManager
    from pgdbm.migrations.engine.plan import Plan

# How many rows of other modules, or of reverted files, may be among the newest rows of the history.
_OTHER_ROWS = 100


class Step(NamedTuple):
    """A migration that was applied."""

    filename: str
    execution_time_ms: int


async def applied_steps(manager: AsyncMigrationManager, filenames: Sequence[str]) -> list[Step]:
    """The ``filenames`` that are in the history, in the order in which they were applied."""
    wanted = set(filenames)
    rows = await manager.history(limit=len(filenames) + _OTHER_ROWS)
    return [Step(row.filename, row.execution_time_ms or 0) for row in reversed(rows) if row.filename in wanted]


async def require_plan(manager: AsyncMigrationManager, target: str | None, digest: str) -> None:
    """Raise a ServiceError (plan_moved) unless ``digest`` is the digest of the current plan."""
    require_digest(manager.module_name, manager.schema, await manager.plan_pending(target=target), digest)


def require_digest(module: str, schema: str, plan: Plan, digest: str) -> None:
    """Raise a ServiceError (plan_moved) unless the digest of ``plan`` is ``digest``."""
    now = plan_digest(module, schema, plan.to_run)
    if now != digest:
        raise plan_moved(module, digest, now)


def plan_moved(module: str, digest: str, now: str | None) -> ServiceError:
    """The error for a plan with that digest that is not the one to apply ``now``."""
    return ServiceError(
        "plan_moved",
        f"The pending migrations of {module} differ from the plan. Nothing was applied.",
        plan=digest,
        current_plan=now,
    )


def unfit_for_one_transaction(error: ConfigurationError, atomic: str) -> AsyncDBError:
    """``error``; or, with ``atomic`` "all", a MigrationError, because the pending files do not fit the request."""
    return MigrationError(error.message) if atomic == "all" else error
