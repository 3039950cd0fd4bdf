"""Why a backfill has to wait: it is paused or limited, or the database is busy. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Reason = Literal["paused", "replication_lag", "autovacuum", "lock_waiters", "slow_batch"]


class Conditions(NamedTuple):
    """The row of ``move`` and ``read`` in ``backfill.sql``. ``hidden_standbys``: those whose lag the connecting user
    may not see."""

    paused: bool
    rate: int | None
    lag_s: float | None
    lag_bytes: int | None
    hidden_standbys: int
    vacuums: int
    waiters: int


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a standby may be behind, in seconds and bytes, None: any; and whether to wait for autovacuum."""

    max_lag_s: float | None
    max_lag_bytes: int | None
    waits_for_vacuum: bool

    def reason_to_wait(self, now: Conditions) -> tuple[Reason, str] | None:
        """Why the next batch has to wait: a code and a sentence."""
        if now.paused:
            return "paused", "it was paused"
        if self.max_lag_s is not None and (now.lag_s or 0) > self.max_lag_s:
            return "replication_lag", f"a standby is {now.lag_s:.1f} s behind, more than {self.max_lag_s:g} s"
        if self.max_lag_bytes is not None and (now.lag_bytes or 0) > self.max_lag_bytes:
            behind = f"{now.lag_bytes:,} bytes behind, more than {self.max_lag_bytes:,}"
            return "replication_lag", f"a standby is {behind}"
        if self.waits_for_vacuum and now.vacuums:
            return "autovacuum", "autovacuum works on the table"
        if now.waiters:
            sessions = "a session waits" if now.waiters == 1 else f"{now.waiters} sessions wait"
            return "lock_waiters", f"{sessions} for a lock on the table"
        return None
