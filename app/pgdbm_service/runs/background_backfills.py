"""The runs that execute backfills in the background: each one follows a run that skipped them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from pgdbm.errors import MigrationError
from pgdbm.migrations.engine.plan import up_to

from ..api.runs import RunOptions
from ..errors import ServiceError
from ..status.history_tables import schemas_with_pending
from .request import MigrationRequest, Origin
from .stored_runs import NewRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..registry.modules import Module
    from ..status.module_lookup import ModuleLookup
    from .stored_runs import FollowUp, TakenRun


async def follow_up_of(lookup: ModuleLookup, run: TakenRun, module: Module) -> FollowUp | None:
    """The run that executes the backfills of ``module`` in the background, once ``run`` has ended; None if there are
    none, or ``run`` is such a run itself."""
    if run.options.background:
        return None
    if module.bundle is not None and not any(file.is_background for file in module.bundle.files.values()):
        return None
    try:
        files = await lookup.files(module)
        if run.options.target is not None:
            files = up_to(files, run.options.target)
    except (MigrationError, ServiceError):
        # The attempts have failed for the same reason.
        return None
    backfills = [file for file in files if file.is_background]
    if not backfills:
        return None

    async def follow_up(schemas: Sequence[str]) -> NewRun | None:
        reader = lookup.databases.reader(module.name)
        left = await schemas_with_pending(reader, module.name, schemas, backfills, as_now=False)
        if not left:
            return None
        options = RunOptions(
            target=run.options.target,
            schemas=run.options.schemas,
            lock_timeout_ms=run.options.lock_timeout_ms,
            on_failure="continue",
            background=True,
        )
        origin = Origin(principal=run.created_by, traceparent=run.traceparent)
        request = MigrationRequest(module=run.module, origin=origin, options=options)
        return NewRun(id=uuid4(), request=request, bundle=run.bundle, schemas=left)

    return follow_up
