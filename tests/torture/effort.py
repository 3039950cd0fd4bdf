"""How long to torture: the quick setting without ``PGDBM_TORTURE``, the long one with 1, N times that with N."""

from __future__ import annotations

import os
import random

_FACTOR = os.environ.get("PGDBM_TORTURE", "")
IS_LONG = bool(_FACTOR)
SEED = int(os.environ.get("PGDBM_TORTURE_SEED", "") or random.SystemRandom().randrange(2**32))
"""Of everything that is chosen at random; failures name it."""


def rounds(quick: int, long: int) -> int:
    return max(1, round(long * float(_FACTOR))) if _FACTOR else quick


def dice(name: str) -> random.Random:
    """A source of randomness of its own for every test, so that one test can be repeated alone."""
    return random.Random(f"{SEED}/{name}")
