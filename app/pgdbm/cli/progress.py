"""How far a run has come, on a terminal."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from ..errors import AsyncDBError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.progress import Progress, TaskID

    from ..migrations import AsyncMigrationManager
    from .output import Output

_PAUSE_S = 0.5


@asynccontextmanager
async def shown_progress(output: Output, manager: AsyncMigrationManager) -> AsyncIterator[None]:
    """While the block runs, show on stderr how many migrations are applied; only where that is a terminal."""
    if output.as_json or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        watcher = asyncio.create_task(_follow(manager, bar, bar.add_task(manager.module_name, total=None)))
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)


async def _follow(manager: AsyncMigrationManager, bar: Progress, task: TaskID) -> None:
    before: int | None = None
    while True:
        # What is wrong with the files or the database is for the run to report.
        with suppress(AsyncDBError):
            counts = (await manager.status()).counts
            before = counts["applied"] if before is None else before
            bar.update(
                task,
                completed=counts["applied"] - before,
                total=counts["applied"] - before + counts["pending"] or None,
            )
        await asyncio.sleep(_PAUSE_S)
