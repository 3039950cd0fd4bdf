"""Which addresses webhooks may be sent to: public ones, so that no client reaches internal services."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network("64:ff9b::/96")


class RefusedAddressError(Exception):
    """The name does not resolve to an address that connections are allowed to."""


def is_public(text: str) -> bool:
    """Whether an IP address is reachable from the whole internet; if it embeds an IPv4 address, whether that one is.

    >>> [is_public(one) for one in ("192.0.2.1", "10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1")]
    [False, False, False, False, False, False]
    >>> is_public("93.184.216.34"), is_public("2606:2800:220:1::1"), is_public("64:ff9b::a00:1")
    (True, True, False)
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if embedded is None and address in _NAT64:
            embedded = IPv4Address(int(address) & 0xFFFF_FFFF)
        if embedded is not None:
            address = embedded
    return address.is_global and not address.is_multicast


async def address_of(host: str, port: int, *, allow_private: bool) -> str:
    """The address to connect to for ``host``. The caller must connect to this address: a second lookup may return a
    different one.

    Raises:
        RefusedAddressError: no address of the name is public, or it has none.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedAddressError(f"the name {host} cannot be resolved") from None
    addresses = [str(one[4][0]) for one in found]
    for one in addresses:
        if allow_private or is_public(one):
            return one
    raise RefusedAddressError(
        f"{host} resolves to {', '.join(dict.fromkeys(addresses))}, which is not a public address: set "
        "PGDBM_WEBHOOK_PRIVATE_ADDRESSES=true to allow it"
    )
