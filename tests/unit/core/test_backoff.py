"""The pauses between attempts."""

from __future__ import annotations

import doctest
from itertools import islice

from pgdbm.core import backoff


def test_the_examples() -> None:
    results = doctest.testmod(backoff)
    assert results.attempted
    assert not results.failed


def test_pauses_grow_up_to_the_longest() -> None:
    assert list(islice(backoff.exponential(0.25, 1.5), 5)) == [0.25, 0.5, 1.0, 1.5, 1.5]
    assert list(islice(backoff.exponential(5, 1), 2)) == [1, 1]
    assert list(islice(backoff.exponential(1, 60, factor=3), 4)) == [1, 3, 9, 27]


def test_jitter_shortens_and_does_not_add_up() -> None:
    pauses = list(islice(backoff.exponential(1, 8, jitter=0.5), 50))
    for pause, full in zip(pauses, [1, 2, 4, *[8] * 47], strict=True):
        assert full / 2 <= pause <= full
    assert len(set(pauses)) > 10
