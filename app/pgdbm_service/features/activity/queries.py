"""Blocking and long-running queries, from the library's debugger, and the pool of this replica."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from pgdbm.monitoring import DatabaseDebugger

from ...api.activity import Backend, LongRunningQuery, PoolState
from ...database.masking import masked
from ...database.sql import statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgdbm.core.manager import AsyncDatabaseManager

    from ...database.pool import Database
    from ...database.slots import Slots


class ConnectedBackend(msgspec.Struct):
    """The current state of a session."""

    pid: int
    user: str | None
    application_name: str | None
    state: str | None
    backend_start: datetime
    query: str | None
    transaction_age_s: float | None


# Deeper than any real queue of locks. It also ends the recursion in a deadlock.
_DEEPEST = 50


def pool_state(database: Database, slots: Slots) -> PoolState:
    """The connections of this replica, and its slots for migrations. Does not query the database."""
    pool = database.pool_numbers()
    return PoolState(
        size=pool.size,
        free=pool.size - pool.used,
        used=pool.used,
        max=pool.max,
        migrating=slots.migrating,
        migrating_max=slots.limit,
        waiting=slots.waiting,
    )


async def blocking_tree(db: AsyncDatabaseManager) -> list[Backend]:
    """The backends that block others and do not wait themselves, with the waiting ones below them."""
    pairs = await DatabaseDebugger(db).find_blocking_queries()
    sessions: dict[int, dict[str, Any]] = {}
    blocked_by: dict[int, list[int]] = {}
    for pair in pairs:
        for side in ("blocking", "blocked"):
            known = sessions.setdefault(pair[f"{side}_pid"], {"waiting_s": None})
            known |= {
                "user": pair[f"{side}_user"],
                "application_name": pair[f"{side}_application_name"],
                "state": pair[f"{side}_state"],
                "transaction_age_s": pair[f"{side}_transaction_seconds"],
                "query": masked(pair[f"{side}_query"]),
            }
        sessions[pair["blocked_pid"]]["waiting_s"] = pair["blocked_seconds"]
        blocked_by.setdefault(pair["blocking_pid"], []).append(pair["blocked_pid"])

    def node(pid: int, above: tuple[int, ...]) -> Backend:
        below = [one for one in blocked_by.get(pid, ()) if one not in above and len(above) < _DEEPEST]
        return Backend(pid=pid, **sessions[pid], blocks=[node(one, (*above, one)) for one in below])

    waiting = {pair["blocked_pid"] for pair in pairs}
    roots = [pid for pid in blocked_by if pid not in waiting]
    # In a deadlock every backend waits; the tree starts at the one that has waited longest.
    return [node(pid, (pid,)) for pid in roots or list(blocked_by)[:1]]


async def still_connected(db: AsyncDatabaseManager, sessions: Sequence[Mapping[str, Any]]) -> list[ConnectedBackend]:
    """The ``sessions``, given by ``pid`` and ``backend_start``, that are still connected."""
    known = [one for one in sessions if one.get("pid") and one.get("backend_start")]
    pids, starts = [str(one["pid"]) for one in known], [str(one["backend_start"]) for one in known]
    rows = await db.fetch_all(statement("activity", "connected"), pids, starts)
    return [msgspec.convert(row | {"query": masked(row["query"])}, ConnectedBackend) for row in rows]


async def long_running(db: AsyncDatabaseManager, threshold_s: float) -> list[LongRunningQuery]:
    """Queries and idle transactions of at least ``threshold_s`` seconds, longest first."""
    return [
        LongRunningQuery(
            pid=row["pid"],
            user=row["user"],
            application_name=row["application_name"],
            state=row["state"],
            query=masked(row["query"]),
            started_at=row["started_at"],
            duration_s=row["duration_seconds"],
        )
        for row in await DatabaseDebugger(db).find_long_running_queries(threshold_s)
    ]
