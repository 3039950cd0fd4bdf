"""Several hosts in one connection string, such as a primary and its standbys.

asyncpg tries them in order under one common timeout: a first host that does not answer at all would use it up before
the second one is tried.
"""

from __future__ import annotations

import random
import time
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import asyncpg

from ..dsn import parse_dsn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Host = tuple[str, int]

Opened = TypeVar("Opened")

# asyncpg needs all hosts: it iterates over them twice.
_ALL_TOGETHER = "prefer-standby"
# At most one host qualifies, so the one that qualified last time is tried first.
_AT_MOST_ONE = ("primary", "read-write")


class Hosts:
    """The hosts of one connection string, in the order in which they are tried."""

    def __init__(self, hosts: tuple[Host, ...], wanted: str | None, *, shuffled: bool = False) -> None:
        self._hosts = list(hosts) if wanted != _ALL_TOGETHER else []
        self._remembers = wanted in _AT_MOST_ONE
        self._shuffled = shuffled

    @property
    def are_several(self) -> bool:
        return len(self._hosts) > 1

    async def first(
        self,
        attempt: Callable[[str, int, float], Awaitable[Opened]],
        timeout: float,
        failures: tuple[type[Exception], ...],
    ) -> Opened:
        """The result of ``attempt(host, port, seconds)`` for the first host where it raises none of ``failures``.

        Each host gets an equal share of the time that is left of ``timeout``, in seconds. If all fail, the most
        informative of their errors is raised.
        """
        until = time.monotonic() + timeout
        failure: Exception | None = None
        order = random.sample(self._hosts, len(self._hosts)) if self._shuffled else list(self._hosts)
        for position, host in enumerate(order):
            share = max(until - time.monotonic(), 0.001) / (len(order) - position)
            try:
                connection = await attempt(*host, share)
            except failures as error:
                if failure is None or isinstance(failure, asyncpg.TargetServerAttributeNotMatched):
                    failure = error
            else:
                if self._remembers:
                    self._hosts.remove(host)
                    self._hosts.insert(0, host)
                return connection
        assert failure is not None
        raise failure


@lru_cache(maxsize=64)
def hosts_of(address: str) -> Hosts:
    """The hosts of ``address``. Equal strings share an object, which remembers which host was the primary."""
    parsed = parse_dsn(address)
    return Hosts(
        parsed.hosts,
        parsed.target_session_attrs,
        shuffled=parsed.parameters.get("load_balance_hosts") == "random",
    )
