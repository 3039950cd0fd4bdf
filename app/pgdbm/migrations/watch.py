"""While a statement works or waits: for whom it waits, and how far it is. Only where somebody listens."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from ..core.queries import FAILURES
from ..errors import AsyncDBError
from ..sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..core.manager import AsyncDatabaseManager
    from .events import Announcer

logger = logging.getLogger("pgdbm.migrations")

_PERIOD_S = 1.0


@asynccontextmanager
async def watching(db: AsyncDatabaseManager, connection: Any, announcer: Announcer) -> AsyncIterator[None]:
    """For the length of the block, look once a second at what ``connection``'s backend does, and announce it."""
    if not announcer.is_heard:
        yield
        return
    watcher = asyncio.create_task(_watch(db, connection.get_server_pid(), announcer))
    try:
        yield
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


async def _watch(db: AsyncDatabaseManager, pid: int, announcer: Announcer) -> None:
    while True:
        await asyncio.sleep(_PERIOD_S)
        try:
            async with db.acquire() as connection:
                blockers = await connection.fetch(statement("watch", "blockers"), pid)
                progress = await connection.fetchrow(statement("watch", "progress"), pid)
        except (AsyncDBError, *FAILURES) as error:
            logger.debug("Could not look at backend %d: %s", pid, error)
            continue
        if blockers:
            announcer.say("blocked", blockers=[dict(row) for row in blockers])
        if progress is not None:
            announcer.say("progress", **dict(progress))
