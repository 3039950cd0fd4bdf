"""The size of batches, and the reasons to wait."""

from __future__ import annotations

import pytest

from pgdbm.migrations.backfill.conditions import Conditions, Limits, ReplayLag
from pgdbm.migrations.backfill.pace import Pace

CLEAR = Conditions(paused=False, rate=None, lag_s=None, lag_bytes=None, hidden_standbys=0, vacuums=0, waiters=0)
LIMITS = Limits(max_lag_s=10.0, max_lag_bytes=1000, waits_for_vacuum=True)


def test_batches_approach_the_target() -> None:
    pace = Pace(1000, 0.25, 0.0, None)
    for number in range(20):
        pace.took(pace.rows, pace.rows / 20_000, float(number))
    assert pace.rows == 5000
    assert pace.rows_per_s(20.0) > 0


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    pace = Pace(1000, 0.25, 0.0, None)
    assert pace.rows_per_s(0.0) == 0
    for number in range(1, 101):
        pace.took(number, 1.0, float(number))
    # The batches that ended at 70 to 100, of which the first began at 69.
    assert pace.rows_per_s(100.0) == sum(range(70, 101)) / 31


def test_one_slow_batch_shrinks_the_next_to_a_quarter_at_most() -> None:
    pace = Pace(1000, 0.25, 0.0, None)
    pace.took(1000, 30.0, 30.0)
    assert pace.rows == 250
    assert pace.is_slow
    assert pace.pause_after(1000, 30.0) == 10.0
    assert pace.pause_after(1000, 2.0) == 2.0


def test_the_last_rows_of_a_table_do_not_enlarge_batches() -> None:
    pace = Pace(1000, 0.25, 0.0, None)
    pace.took(3, 0.001, 1.0)
    assert pace.rows == 750


def test_sessions_that_wait_shrink_batches() -> None:
    pace = Pace(1000, 0.25, 0.0, None)
    pace.halve()
    assert pace.rows == 500


def test_a_rate_limits_the_size_and_makes_pauses() -> None:
    pace = Pace(1000, 0.25, 0.01, 400)
    assert pace.rows == 100
    pace.limit(None)
    pace.rows = 1000
    pace.limit(400)
    assert pace.rows == 100
    pace.took(100, 0.01, 1.0)
    assert pace.rows == 100
    assert pace.pause_after(100, 0.05) == pytest.approx(0.2)
    assert pace.pause_after(1, 0.05) == 0.01


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, None),
        ({"paused": True, "vacuums": 1}, "paused"),
        ({"lag_s": 9.9, "lag_bytes": 1000}, None),
        ({"lag_s": 10.1}, "replication_lag"),
        ({"lag_bytes": 1001}, "replication_lag"),
        ({"vacuums": 1}, "autovacuum"),
        ({"waiters": 2}, "lock_waiters"),
    ],
)
def test_reasons_to_wait(changed: dict[str, object], reason: str | None) -> None:
    found = LIMITS.reason_to_wait(CLEAR._replace(**changed))  # type: ignore[arg-type]
    assert (found and found[0]) == reason


def test_limits_that_are_off() -> None:
    busy = CLEAR._replace(lag_s=1e6, lag_bytes=10**12, vacuums=3)
    assert Limits(None, None, waits_for_vacuum=False).reason_to_wait(busy) is None


def test_a_standby_that_does_not_answer_is_behind_by_our_own_clock() -> None:
    lag = ReplayLag()

    def seen(seconds: float, written: int, replayed: int, lag_s: float | None = 0.01) -> float | None:
        now = CLEAR._replace(wal_position=written, lag_bytes=written - replayed, lag_s=lag_s)
        return lag.corrected(now, seconds).lag_s

    assert seen(0.0, 1000, 1000) == 0.01
    assert seen(100.0, 2000, 1900) == 0.01  # a long batch is no lag
    assert seen(101.0, 3000, 1900) == 1.0
    assert seen(105.0, 3000, 1900) == 5.0
    assert seen(106.0, 4000, 2500) == 5.0  # since what was written at 101
    assert seen(107.0, 4000, 4000) == 0.01
    assert seen(108.0, 4000, 3999, lag_s=7.0) == 7.0
    assert lag.corrected(CLEAR, 109.0) == CLEAR
