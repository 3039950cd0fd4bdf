"""Several hosts in one connection string: a leader and its standbys.

asyncpg tries them in turn, and gives one time limit to all of them: a first host that does not answer, as a machine
that is gone does not, would use it up before the second is asked.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import asyncpg

from . import dsn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Host = tuple[str, int]

# asyncpg looks at all hosts twice for it.
_ALL_AT_ONCE = "prefer-standby"
# There is one such host: where it was found, it is looked for first the next time.
_ONLY_ONE = ("primary", "read-write")


class Hosts:
    """The hosts of one connection string, in the order in which they are tried."""

    def __init__(self, hosts: tuple[Host, ...], wanted: str | None) -> None:
        self._hosts = list(hosts) if wanted != _ALL_AT_ONCE else []
        self._remembers = wanted in _ONLY_ONE

    @property
    def are_several(self) -> bool:
        return len(self._hosts) > 1

    async def first(
        self,
        attempt: Callable[[str, int, float], Awaitable[Any]],
        timeout: float,
        failures: tuple[type[Exception], ...],
    ) -> Any:
        """What ``attempt(host, port, seconds)`` gives for the first host where it raises none of ``failures``.

        Each host has an equal share of what is left of ``timeout``. Raises what is most telling where there is none.
        """
        until = time.monotonic() + timeout
        failure: Exception | None = None
        order = tuple(self._hosts)
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
    """The hosts of ``address``; the same object for the same string, with what it remembers."""
    return Hosts(dsn.hosts_in(address), dsn.target_session_attrs(address))
