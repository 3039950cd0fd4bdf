"""Progress on a terminal."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from ..errors import AsyncDBError
from .output import backfill_progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.progress import Progress, TaskID

    from ..migrations import AsyncMigrationManager
    from .output import Output

_INTERVAL_S = 0.5


@asynccontextmanager
async def applied_shown(output: Output, manager: AsyncMigrationManager) -> AsyncIterator[None]:
    """Show the number of applied migrations while the block runs."""
    bar = output.progress_bar()
    if bar is None:
        yield
        return
    with bar:
        import asyncio  # this imports `ssl` and takes 80 ms, which would slow down `pgdbm deploy --help`

        from ..core.tasks import cancel_and_wait  # as above

        watcher = asyncio.create_task(_follow(manager, bar, bar.add_task(manager.module_name, total=None)))
        try:
            yield
        finally:
            await cancel_and_wait(watcher)


async def _described(manager: AsyncMigrationManager) -> str:
    """The module, and the progress of its backfill."""
    active = [one for one in await manager.backfills.states() if one.ended_at is None]
    if not active:
        return manager.module_name
    waits = f", waits: {active[0].waiting_for}" if active[0].waiting_for else ""
    return f"{manager.module_name}: {active[0].filename}: {backfill_progress(active[0])}{waits}"


async def _follow(manager: AsyncMigrationManager, bar: Progress, task: TaskID) -> None:
    import asyncio  # as above

    before: int | None = None
    while True:
        # Errors of the files or the database are reported by the run itself.
        with suppress(AsyncDBError):
            counts = (await manager.status()).counts
            before = counts["applied"] if before is None else before
            bar.update(
                task,
                completed=counts["applied"] - before,
                total=counts["applied"] - before + counts["pending"] + counts["backfilling"] or None,
                description=await _described(manager) if counts["backfilling"] else manager.module_name,
            )
        await asyncio.sleep(_INTERVAL_S)
