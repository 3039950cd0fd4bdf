"""Host names and addresses."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address with or without brackets, is the loopback interface.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.2", "[::1]", "10.0.0.1", "localhost.example.com")]
    [True, True, True, False, False]
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_socket_folder(host: str) -> bool:
    """Whether ``host`` is the directory of a Unix-domain socket, or an abstract one."""
    return host.startswith(("/", "@"))
