"""Pauses between attempts."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def exponential(first: float, longest: float, *, factor: float = 2.0, jitter: float = 0.0) -> Iterator[float]:
    """Seconds to wait before each further attempt, without end: ``first``, growing by ``factor`` up to ``longest``.

    With ``jitter`` each pause is shortened by a random share of itself, at most that much, so that many clients that
    failed together do not return together.

    >>> from itertools import islice
    >>> list(islice(exponential(0.5, 3), 5))
    [0.5, 1.0, 2.0, 3, 3]
    >>> list(islice(exponential(1, 10, factor=1), 3))
    [1, 1, 1]
    >>> all(0.5 <= pause <= 1 for pause in islice(exponential(1, 1, jitter=0.5), 100))
    True
    """
    pause = min(first, longest)
    while True:
        yield pause * random.uniform(1 - jitter, 1) if jitter else pause  # noqa: S311 - not a secret
        pause = min(pause * factor, longest)
