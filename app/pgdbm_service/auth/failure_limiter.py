"""A limit on failed authentication per client address, within this process.

Litestar's RateLimitMiddleware counts every request; this one counts failures only. A client with valid credentials is
therefore never limited by its own requests. Credentials that were valid before are verified even if the address has
used up its failures: behind a proxy that is not in PGDBM_TRUSTED_PROXIES, all clients share one address.
"""

from __future__ import annotations

import ipaddress
import time
from hashlib import sha256
from math import floor
from typing import TYPE_CHECKING, Literal, TypeVar

from pgdbm.core.lru import LRUCache

from ..errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")
Failure = Literal["invalid", "missing", "session"]

# Memory is bounded: an attacker can use any number of addresses.
_MAX_ENTRIES = 10_000


class FailureLimiter:
    """A token bucket of ``per_minute`` failures for each address, refilled at a constant rate."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._rate = per_minute / 60
        self._clock = clock
        self._buckets: LRUCache[tuple[str, Failure], tuple[float, float]] = LRUCache(_MAX_ENTRIES)
        self._valid: LRUCache[bytes, None] = LRUCache(_MAX_ENTRIES)

    def check(self, address: str, credentials: str, failure: Failure = "invalid") -> None:
        """Refuse ``credentials`` from an address with too many failures, unless they were valid before.

        Session cookies have a separate bucket: those of a signed-out browser must not prevent a new sign-in.

        Raises:
            ServiceError: too_many_attempts.
        """
        if _digest(credentials) not in self._valid:
            self._require_capacity(address, failure)

    def record_failure(self, address: str, credentials: str, failure: Failure = "invalid") -> None:
        """Count invalid credentials. Failures with credentials that were valid before, such as a revoked token, count
        from now on."""
        self._valid.pop(_digest(credentials))
        self._take(address, failure)

    def record_missing(self, address: str) -> None:
        """Count a request without credentials. Such requests have a separate bucket, because they do not guess
        credentials.

        Raises:
            ServiceError: too_many_attempts.
        """
        self._require_capacity(address, "missing")
        self._take(address, "missing")

    def record_success(self, credentials: str) -> None:
        self._valid.put(_digest(credentials), None)

    def _require_capacity(self, address: str, failure: Failure) -> None:
        left = self._left(_network(address), failure)
        if left < 1:
            raise ServiceError(
                "too_many_attempts",
                "Authentication from this address has failed too often.",
                # Rounded up, so that a client that waits exactly this long is served.
                retry_after_s=floor((1 - left) / self._rate) + 1,
            )

    def _take(self, address: str, failure: Failure) -> None:
        network = _network(address)
        self._buckets.put((network, failure), (max(0.0, self._left(network, failure) - 1), self._clock()))

    def _left(self, network: str, failure: Failure) -> float:
        left, since = self._buckets.get((network, failure)) or (self._capacity, self._clock())
        return min(self._capacity, left + (self._clock() - since) * self._rate)


def _digest(credentials: str) -> bytes:
    return sha256(credentials.encode("latin-1", "replace")).digest()


def _network(address: str) -> str:
    """The /64 of an IPv6 address, which is usually assigned to one client; an IPv4 address as it is."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
