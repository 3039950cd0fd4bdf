"""The length of the crash tests: short without ``PGDBM_TORTURE``, long with 1, N times as long with N."""

from __future__ import annotations

import os
import random

_FACTOR = os.environ.get("PGDBM_TORTURE", "")
IS_LONG = bool(_FACTOR)
SEED = int(
    os.environ.get("PGDBM_TORTURE_SEED", "") or (random.SystemRandom().randrange(2**32) if IS_LONG else 20_261_101)
)
"""The seed of everything that is chosen at random; failures name it. Short runs always use the same seed."""


def rounds(quick: int, long: int) -> int:
    return max(1, round(long * float(_FACTOR))) if _FACTOR else quick


def seeded_random(name: str) -> random.Random:
    """A separate source of randomness for every test, so that one test can be repeated alone."""
    return random.Random(f"{SEED}/{name}")
