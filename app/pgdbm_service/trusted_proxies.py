"""What trusted proxies report about a request: the client's address, the public host, the path prefix."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Scope = Mapping[str, Any]
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANY = "*"
_PREFIX = re.compile(r"(?:/(?!\.+(?:/|\Z))[A-Za-z0-9._~-]+)+\Z")


class TrustedProxies:
    """The proxies whose ``X-Forwarded-*`` headers are trusted: networks, or ``*`` for every peer.

    Each proxy appends the address of its peer to ``X-Forwarded-For``; earlier entries may come from the client. So the
    header is read from its end, as long as the entries are trusted proxies. With ``*``, only the peer is trusted, so
    the result is the last entry.

    Raises:
        ValueError: an entry is neither an address nor a network; the text names it.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._any_peer = list(entries) == [ANY]
        self._networks: list[Network] = [] if self._any_peer else [_network(entry) for entry in entries]
        self._are_any = bool(entries)

    def client_of(self, scope: Scope) -> str:
        """The address of the client; ``local`` over a Unix socket."""
        address = _peer(scope)
        if not self._are_any:
            return address
        for hop, entry in enumerate(reversed(_entries(scope, b"x-forwarded-for"))):
            forwarded = _address(entry)
            # Entries before an invalid address cannot be attributed to a proxy.
            if forwarded is None or not self._trusts(address, hop):
                break
            address = forwarded
        return address

    def host_of(self, scope: Scope) -> str | None:
        """``X-Forwarded-Host`` of a trusted peer: the Host that the client sent, if the proxy sends its own."""
        return self._forwarded(scope, b"x-forwarded-host")

    def scheme_of(self, scope: Scope) -> str | None:
        """``X-Forwarded-Proto`` of a trusted peer: ``https`` if the browser uses TLS, which ends at the proxy."""
        return self._forwarded(scope, b"x-forwarded-proto")

    def prefix_of(self, scope: Scope) -> str | None:
        """``X-Forwarded-Prefix`` of a trusted peer, such as ``/pgdbm``: the path that it strips from requests."""
        prefix = self._forwarded(scope, b"x-forwarded-prefix")
        return prefix.rstrip("/") if prefix is not None and is_prefix(prefix.rstrip("/")) else None

    def _forwarded(self, scope: Scope, name: bytes) -> str | None:
        if not self._are_any:
            return None
        entries = _entries(scope, name)
        return entries[-1] if entries and self._trusts(_peer(scope), 0) else None

    def _trusts(self, address: str, hop: int) -> bool:
        if self._any_peer:
            return hop == 0
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(ip, "ipv4_mapped", None)
        return any((mapped or ip) in network for network in self._networks)


def parse_proxies(text: str | None) -> TrustedProxies:
    """From ``10.0.0.0/8, 192.168.1.7`` or ``*``; None: no proxy is trusted."""
    return TrustedProxies([entry.strip() for entry in (text or "").split(",") if entry.strip()])


def is_prefix(text: str) -> bool:
    """Whether ``text`` is a path such as ``/pgdbm``, without a slash at its end."""
    return _PREFIX.match(text) is not None


def _peer(scope: Scope) -> str:
    peer = scope.get("client")
    return "local" if peer is None else peer[0]


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        raise ValueError(f"{entry!r} is neither an address nor a network such as 10.0.0.0/8") from None


def _entries(scope: Scope, header: bytes) -> list[str]:
    """The entries of all headers with that name, in order."""
    values = (value.decode("latin-1") for name, value in scope["headers"] if name == header)
    return [entry.strip() for value in values for entry in value.split(",") if entry.strip()]


def _address(entry: str) -> str | None:
    """``entry`` without the port that some proxies add; None if it is not an address."""
    host = entry[1:].partition("]")[0] if entry.startswith("[") else entry
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
