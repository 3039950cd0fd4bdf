"""The events of a run, for listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal[
    "run_started",
    "waiting_for_runner",
    "migration_started",
    "statement_started",
    "statement_ended",
    "notice",
    "blocked",
    "blocker_ended",
    "progress",
    "backfill_waiting",
    "retrying",
    "migration_ended",
    "migration_failed",
    "run_ended",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    ``statement`` counts from 1 to ``statements``. Statements that share a message share a pair of events: the first is
    in ``statement_started``, the last in ``statement_ended``. The events of files that share a message are emitted when
    it has ended and all of them are on disk, except for the start of the first; ``at`` is then the time of what they
    report, taken from the history.

    ``details`` by kind: ``blocked`` has ``blockers`` (pid, user, application_name, state, transaction_age_s, query, and
    which ``mode`` of which ``relation`` the session that it ``blocks`` waits for), none when the wait is over;
    ``blocker_ended`` has ``action`` and ``blocker``, the session that was ended; ``progress`` has ``command``,
    ``phase`` and ``percent``, and, for a backfill, ``rows``, ``changed_rows``, ``total_rows`` (an estimate),
    ``rows_per_s``, ``seconds_left`` and ``batch_rows``; ``backfill_waiting`` has ``reason`` (paused, replication_lag,
    autovacuum, lock_waiters or slow_batch) and ``message``, both None when it continues; ``retrying`` has ``attempt``,
    ``sqlstate``, ``message`` and ``pause_s``; ``waiting_for_runner`` has ``holder``; ``notice`` has ``severity``,
    ``sqlstate`` and ``message``; kinds that end with ``_ended`` have ``execution_time_ms``.
    """

    kind: Kind
    schema: str
    module: str
    filename: str | None = None
    statement: int | None = None
    statements: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


Listener = Callable[[Event], None]
