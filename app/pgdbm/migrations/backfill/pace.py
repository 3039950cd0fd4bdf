"""How large batches are, how fast they run, and how long they pause. Pure."""

from __future__ import annotations

from collections import deque

_MOST_ROWS = 1_000_000
_MOST_GROWTH = 2.0
_MOST_SHRINKING = 0.25
_TOO_SLOW = 3.0
_WINDOW_S = 30.0
_LONGEST_REST_S = 10.0


class Pace:
    """``rows``: the size of the next batch, so that it takes about ``target_s`` seconds.

    ``rate``: at most so many rows per second; None means no limit. ``pause_s``: the pause after each batch. ``last_s``:
    the seconds that the last batch took.
    """

    def __init__(self, rows: int, target_s: float, pause_s: float, rate: int | None) -> None:
        self.rows = rows
        self.rate: int | None = None
        self.is_slow = False
        self.last_s = 0.0
        self._target_s = target_s
        self._pause_s = pause_s
        self._ended: deque[tuple[float, int, float]] = deque()
        self._rows_ended = 0
        self.limit(rate)

    def limit(self, rate: int | None) -> None:
        """Change the rate. The next batch is no larger than this rate allows in the target time of a batch."""
        self.rate = rate
        if rate is not None:
            self.rows = max(1, min(self.rows, round(rate * self._target_s)))

    def took(self, rows: int, seconds: float, now: float) -> None:
        """A batch of ``rows`` took ``seconds``, and ended at ``now``."""
        self.last_s = seconds
        self._ended.append((now, rows, seconds))
        self._rows_ended += rows
        while self._ended[0][0] < now - _WINDOW_S:
            self._rows_ended -= self._ended.popleft()[1]
        self.is_slow = seconds > _TOO_SLOW * self._target_s
        wanted = rows * self._target_s / max(seconds, 1e-6)
        if rows < self.rows:
            # The last, partial batch of a table says little about larger ones.
            wanted = min(wanted, self.rows)
        limit = self.rows * _MOST_GROWTH
        if self.rate is not None:
            limit = min(limit, self.rate * self._target_s)
        self.rows = max(1, min(_MOST_ROWS, round(min(max(wanted, self.rows * _MOST_SHRINKING), limit))))

    def halve(self) -> None:
        """Sessions had to wait for the locks of a batch."""
        self.rows = max(1, self.rows // 2)

    def pause_after(self, rows: int, seconds: float) -> float:
        """Seconds to pause after a batch of ``rows`` that took ``seconds``: as long as the batch, if it was slow."""
        rest = max(rows / self.rate - seconds, 0.0) if self.rate else 0.0
        if self.is_slow:
            rest = max(rest, min(seconds, _LONGEST_REST_S))
        return max(rest, self._pause_s)

    def rows_per_s(self, now: float) -> float:
        """The mean rate of the last half minute, pauses included."""
        if not self._ended:
            return 0.0
        begin = self._ended[0][0] - self._ended[0][2]
        return self._rows_ended / max(now - begin, 1e-6)
