"""A limit on failed authentication, for each address, in this process.

Litestar's RateLimitMiddleware counts every request; this counts failures alone, so that who has a good token is never
in its way. An address that has used up its failures may still show what this process has seen to be good: behind a
proxy that is not known as one everybody has the same address, and one of them must not lock out the others.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from hashlib import sha256
from math import floor
from typing import TYPE_CHECKING, Any

from ..errors import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

# What is remembered is bounded: an attacker can have any number of addresses.
_MOST = 10_000


class Attempts:
    """A bucket of ``per_minute`` failures for each address, which fills again evenly."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._rate = per_minute / 60
        self._clock = clock
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def before(self, address: str, credentials: str) -> None:
        """Refuse to look at ``credentials`` from an address that has failed too often, unless they were good before.

        Raises:
            Problem: too_many_attempts.
        """
        if _digest(credentials) not in self._good:
            self._refuse_empty(address, "wrong")

    def failed(self, address: str) -> None:
        """Count wrong credentials."""
        self._take(address, "wrong")

    def missing(self, address: str) -> None:
        """Count a request without credentials. These have a bucket of their own: they test nothing.

        Raises:
            Problem: too_many_attempts.
        """
        self._refuse_empty(address, "missing")
        self._take(address, "missing")

    def succeeded(self, credentials: str) -> None:
        """Remember that ``credentials`` were good once."""
        _put(self._good, _digest(credentials), None)

    def _refuse_empty(self, address: str, kind: str) -> None:
        left = self._now(_network(address), kind)
        if left < 1:
            raise Problem(
                "too_many_attempts",
                "Authentication from this address has failed too often.",
                # A little later than exactly then, which floats may miss.
                retry_after_s=floor((1 - left) / self._rate) + 1,
            )

    def _take(self, address: str, kind: str) -> None:
        network = _network(address)
        _put(self._left, (network, kind), (max(0.0, self._now(network, kind) - 1), self._clock()))

    def _now(self, network: str, kind: str) -> float:
        left, since = self._left.get((network, kind), (self._capacity, self._clock()))
        return min(self._capacity, left + (self._clock() - since) * self._rate)


def _put(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _MOST:
        memory.popitem(last=False)


def _digest(credentials: str) -> bytes:
    return sha256(credentials.encode("latin-1", "replace")).digest()


def _network(address: str) -> str:
    """Who has one address of IPv6 mostly has its whole /64."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
