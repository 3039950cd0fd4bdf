"""How long to torture: ``PGDBM_TORTURE`` unset is the quick setting, 1 the long one, any other number that many times it."""

from __future__ import annotations

import os
import random

_FACTOR = os.environ.get("PGDBM_TORTURE", "")
SEED = int(os.environ.get("PGDBM_TORTURE_SEED", "") or random.SystemRandom().randrange(2**32))
"""Of everything that is chosen at random; failures name it."""


def rounds(quick: int, long: int) -> int:
    return max(1, round(long * float(_FACTOR))) if _FACTOR else quick


def dice(name: str) -> random.Random:
    """A source of randomness of its own for every test, so that one test can be repeated alone."""
    return random.Random(f"{SEED}/{name}")
