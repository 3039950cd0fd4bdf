"""Terminates a session that keeps a migration waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...api.activity import TerminatedBackend
from ...database.sql import statement
from ...errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from pgdbm.core.manager import AsyncDatabaseManager


# A process id is an integer in PostgreSQL.
_HIGHEST_PID = 2**31 - 1


async def terminate(
    db: AsyncDatabaseManager, pid: int, migrating: Collection[int], backend_start: datetime | None
) -> TerminatedBackend:
    """End the backend ``pid``: one that blocks one of the ``migrating`` backends, or that started at ``backend_start``.

    Process ids are reused after a session has ended: without one of these conditions, another session could be
    terminated.

    Raises:
        ServiceError: backend_unknown, backend_not_blocking.
    """
    found = None
    if 0 < pid <= _HIGHEST_PID:
        found = await db.fetch_one(statement("activity", "backend"), pid, [str(one) for one in migrating])
    if found is None or pid in migrating:
        raise ServiceError(
            "backend_unknown",
            f"There is no session with the process id {pid} that can be ended."
            + (" It is a migration: cancel its run." if found is not None else ""),
            pid=pid,
        )
    if not found["blocks_migration"] and found["backend_start"] != backend_start:
        raise ServiceError(
            "backend_not_blocking",
            f"The session with the process id {pid} is not blocking a migration now, and backend_start "
            f"does not identify it.",
            pid=pid,
        )
    if not await db.fetch_value(statement("activity", "terminate"), pid, found["backend_start"]):
        raise ServiceError("backend_unknown", f"The session with the process id {pid} has already ended.", pid=pid)
    return TerminatedBackend(
        pid=pid,
        user=found["user"],
        application_name=found["application_name"],
        backend_start=found["backend_start"],
    )
