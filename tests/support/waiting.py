"""Waiting for conditions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")

_DEADLINE_S = 60


def eventually(condition: Callable[[], Value]) -> Value:
    """The first true value of ``condition``; fails if there is none within a minute."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("the condition was not fulfilled in time")
