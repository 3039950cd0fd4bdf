"""What the database is busy with, from the library's debugger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgdbm.monitoring import DatabaseDebugger

from .masking import masked
from .structs import LongRunningQuery, Session

if TYPE_CHECKING:
    from pgdbm.core.manager import AsyncDatabaseManager

# Deeper than any real queue of locks; also what ends a deadlock that the server has not resolved yet.
_DEEPEST = 50


async def blocking_tree(db: AsyncDatabaseManager) -> list[Session]:
    """Whoever blocks others and waits for nobody, with those that wait below."""
    pairs = await DatabaseDebugger(db).find_blocking_queries()
    sessions: dict[int, dict[str, Any]] = {}
    blocked_by: dict[int, list[int]] = {}
    for pair in pairs:
        for side in ("blocking", "blocked"):
            known = sessions.setdefault(pair[f"{side}_pid"], {"waiting_s": None})
            known |= {
                "user": pair[f"{side}_user"],
                "application": pair[f"{side}_application"],
                "state": pair[f"{side}_state"],
                "transaction_age_s": pair[f"{side}_transaction_seconds"],
                "query": masked(pair[f"{side}_query"]),
            }
        sessions[pair["blocked_pid"]]["waiting_s"] = pair["blocked_seconds"]
        blocked_by.setdefault(pair["blocking_pid"], []).append(pair["blocked_pid"])

    def node(pid: int, above: tuple[int, ...]) -> Session:
        below = [one for one in blocked_by.get(pid, ()) if one not in above and len(above) < _DEEPEST]
        return Session(pid=pid, **sessions[pid], blocks=[node(one, (*above, one)) for one in below])

    waiting = {pair["blocked_pid"] for pair in pairs}
    roots = [pid for pid in blocked_by if pid not in waiting]
    # In a deadlock everybody waits; it is shown from whoever waits for longest.
    return [node(pid, (pid,)) for pid in roots or list(blocked_by)[:1]]


async def long_running(db: AsyncDatabaseManager, threshold_s: float) -> list[LongRunningQuery]:
    """What runs for ``threshold_s`` or longer, longest first."""
    return [
        LongRunningQuery(
            pid=row["pid"],
            user=row["user"],
            application=row["application"],
            state=row["state"],
            query=masked(row["query"]),
            started_at=row["started_at"],
            duration_s=row["duration_seconds"],
        )
        for row in await DatabaseDebugger(db).find_long_running_queries(threshold_s)
    ]
