"""The address of who makes a request: of the connection, or behind proxies that are trusted, what these say."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar.types import Scope

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANY = "*"


class TrustedProxies:
    """The proxies whose ``X-Forwarded-For`` counts: networks, or ``*`` for whoever connects.

    Each proxy adds the address that it was connected from, at the end; what stands before that, a client may have
    written. So the header is read from its end, for as long as it names trusted proxies. With ``*`` one proxy is
    trusted, the one that connects: of a chain of them it tells the last.

    Raises:
        ValueError: an entry is neither an address nor a network; the text names it.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._anybody = list(entries) == [ANY]
        self._networks: list[Network] = [] if self._anybody else [_network(entry) for entry in entries]

    def client_of(self, scope: Scope) -> str:
        """The address of who makes the request; ``local`` over a Unix socket."""
        peer = scope.get("client")
        address = "local" if peer is None else peer[0]
        for hop, said in enumerate(reversed(_forwarded_for(scope))):
            before = _plain(said)
            # What is no address ends it too: whatever stands before that is not the proxy's word.
            if before is None or not self._trusts(address, hop):
                break
            address = before
        return address

    def _trusts(self, address: str, hop: int) -> bool:
        if self._anybody:
            return hop == 0
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)
        return any((mapped or ip) in network for network in self._networks)


def parse_proxies(text: str | None) -> TrustedProxies:
    """From ``10.0.0.0/8, 192.168.1.7`` or ``*``; None trusts nobody."""
    return TrustedProxies([entry.strip() for entry in (text or "").split(",") if entry.strip()])


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        raise ValueError(f"{entry!r} is no address and no network like 10.0.0.0/8") from None


def _forwarded_for(scope: Scope) -> list[str]:
    """What all the headers of that name say, in order, as if they were one."""
    values = (value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for")
    return [entry.strip() for value in values for entry in value.split(",") if entry.strip()]


def _plain(said: str) -> str | None:
    """``said`` without the port that some proxies add; None where it is no address."""
    host = said[1:].partition("]")[0] if said.startswith("[") else said
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
