"""The progress of a statement, and the sessions that block it: polled with a listener, and after a lock timeout."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ...core.asyncpg_errors import FAILURES
from ...core.tasks import cancel_and_wait
from ...errors import AsyncDBError
from ...sql import statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ...core.connection import Connection
    from ...core.manager import AsyncDatabaseManager
    from .announcer import Announcer
    from .blockers import BlockerEnding
    from .run import Run

logger = logging.getLogger("pgdbm.migrations")

_PERIOD_S = 1.0
_SHORTEST_PERIOD_S = 0.05
_ENOUGH = 2
_FIRST_WITH_REPACK = 19


@asynccontextmanager
async def watching(
    db: AsyncDatabaseManager, connection: Connection, announcer: Announcer, run: Run
) -> AsyncIterator[None]:
    """Within the block, poll the backend of ``connection`` once a second: emit its progress and its blockers, and keep
    the blockers in ``run``. More often if the lock timeout is short.

    Without a listener the polling starts only with ``run.watch_locks``, unless blockers are to be ended.
    """
    period_s = max(min(_PERIOD_S, (run.lock_timeout or _PERIOD_S) / 2), _SHORTEST_PERIOD_S)
    watchers: list[asyncio.Task[None]] = []

    def start() -> None:
        if not watchers:
            watchers.append(asyncio.create_task(_watch(db, connection.get_server_pid(), announcer, run, period_s)))

    if announcer.has_listener or run.ending is not None:
        start()
    before, run.watch_locks = run.watch_locks, start
    try:
        yield
    finally:
        run.watch_locks = before
        await cancel_and_wait(*watchers)
        if run.ending is not None:
            await run.ending.settle()


async def _watch(db: AsyncDatabaseManager, pid: int, announcer: Announcer, run: Run, period_s: float) -> None:
    # The number of polls since the last one that found blockers. A poll may fall between the end of an attempt and the
    # pause.
    polls_without = _ENOUGH
    while True:
        await asyncio.sleep(period_s)
        if run.is_pausing:
            continue
        try:
            async with db.acquire() as connection:
                blockers = await connection.fetch(statement("watch", "blockers"), pid)
                progress = await connection.fetchrow(progress_query(connection.get_server_version().major), pid)
        except (AsyncDBError, *FAILURES) as error:
            logger.debug("Backend %d could not be polled: %s", pid, error)
            continue
        if blockers:
            run.blockers = [dict(row) for row in blockers]
            announcer.emit("blocked", blockers=run.blockers)
            if run.ending is not None:
                await _end_blockers(run.ending, db, pid)
        elif polls_without == _ENOUGH - 1:
            announcer.emit("blocked", blockers=[])
        polls_without = 0 if blockers else min(polls_without + 1, _ENOUGH)
        if progress is not None:
            announcer.emit("progress", **dict(progress))


async def _end_blockers(ending: BlockerEnding, db: AsyncDatabaseManager, pid: int) -> None:
    try:
        await ending.end_blockers(db, pid)
    except (AsyncDBError, *FAILURES) as error:
        logger.warning("Sessions that block the migration could not be ended: %s", error)


def progress_query(server_version: int) -> str:
    """The query for the progress of a backend; ``server_version`` is the major version."""
    view = "repack" if server_version >= _FIRST_WITH_REPACK else "cluster"
    return statement("watch", "progress", rewrites=f"pg_catalog.pg_stat_progress_{view}")
