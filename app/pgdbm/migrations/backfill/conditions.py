"""Why a backfill has to wait: it is paused or limited, or the database is busy. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

_SAMPLED_EVERY_S = 0.1

Reason = Literal["paused", "replication_lag", "autovacuum", "lock_waiters", "slow_batch"]


class Conditions(NamedTuple):
    """What ``next`` and ``read`` in ``backfill.sql`` return. ``hidden_standbys``: those whose lag the user may
    not see. ``wal_position``: how much WAL the server has written, in bytes, if it has a standby.
    """

    paused: bool
    rate: int | None
    lag_s: float | None
    lag_bytes: int | None
    hidden_standbys: int
    vacuums: int
    waiters: int
    wal_position: int | None = None


class ReplayLag:
    """How long a standby has been lagging, by the clock of this process.

    The server computes the lag from the standby's replies, so it stays small while a frozen standby sends none.
    """

    def __init__(self) -> None:
        self._written: deque[tuple[float, int]] = deque()

    def corrected(self, now: Conditions, seconds: float) -> Conditions:
        """``now``, which was read at ``seconds``, with the longer of the two times as its lag."""
        if now.wal_position is None or now.lag_bytes is None:
            self._written.clear()
            return now
        if not self._written or seconds - self._written[-1][0] >= _SAMPLED_EVERY_S:
            self._written.append((seconds, now.wal_position))
        replayed = now.wal_position - now.lag_bytes
        while self._written and self._written[0][1] <= replayed:
            self._written.popleft()
        behind_s = seconds - self._written[0][0] if self._written else 0.0
        return now._replace(lag_s=max(now.lag_s or 0.0, behind_s))


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a standby may lag behind, in seconds and bytes (None: no limit), and whether to wait for autovacuum."""

    max_lag_s: float | None
    max_lag_bytes: int | None
    waits_for_vacuum: bool

    def reason_to_wait(self, now: Conditions) -> tuple[Reason, str] | None:
        """The reason why the next batch has to wait: a code and a sentence."""
        if now.paused:
            return "paused", "it was paused"
        if self.max_lag_s is not None and (now.lag_s or 0) > self.max_lag_s:
            return "replication_lag", f"a standby is {now.lag_s:.1f} s behind, more than {self.max_lag_s:g} s"
        if self.max_lag_bytes is not None and (now.lag_bytes or 0) > self.max_lag_bytes:
            behind = f"{now.lag_bytes:,} bytes behind, more than {self.max_lag_bytes:,}"
            return "replication_lag", f"a standby is {behind}"
        if self.waits_for_vacuum and now.vacuums:
            return "autovacuum", "autovacuum is working on the table"
        if now.waiters:
            sessions = "a session waits" if now.waiters == 1 else f"{now.waiters} sessions wait"
            return "lock_waiters", f"{sessions} for a lock on the table"
        return None
