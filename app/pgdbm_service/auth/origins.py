"""Refuses requests that come from other hosts or other sites."""

from __future__ import annotations

import ipaddress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pgdbm.dsn import is_loopback

from ..errors import ServiceError
from ..settings import listed
from ..web.headers import header_of

if TYPE_CHECKING:
    from litestar.types import Scope

    from ..settings import Settings
    from ..trusted_proxies import TrustedProxies
    from ..web.request import HTTPRequest
    from .sign_in import SignIns

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_ANY = "*"
_LONGEST_KNOWN, _MOST_KNOWN = 200, 256
_OTHER_SITES = ("cross-site", "same-site")


class Origins:
    """Checks the connection, the Host and the Origin of requests."""

    def __init__(self, settings: Settings, proxies: TrustedProxies) -> None:
        self._loopback_only = settings.loopback_only
        self._hosts = [host.lower() for host in listed(settings.allowed_hosts)]
        self._checks_hosts = settings.auth == "none" or bool(self._hosts)
        self._origins = frozenset(listed(settings.cors_origins))
        self._public = settings.public_origin
        self._proxies = proxies
        # What _check_places has accepted.
        self._known: set[tuple[tuple[str, int | None] | None, str, str | None]] = set()

    def check(self, scope: Scope) -> None:
        """Refuse a request from a place that the settings do not allow.

        Raises:
            ServiceError: not_loopback, host_not_allowed, cross_origin.
        """
        host = header_of(scope, b"host") or ""
        server = scope.get("server")
        # ASGI allows a list, too.
        address = None if server is None else (server[0], server[1])
        places = address, host, self._proxies.host_of(scope)
        if places not in self._known:
            self._check_places(*places)
        if scope.get("method") not in _READING:
            self._require_origin(scope)

    def _check_places(self, server: tuple[str, int | None] | None, host: str, forwarded: str | None) -> None:
        """Check the address at which a request arrived, its Host, and the one before a trusted proxy."""
        if self._loopback_only:
            _require_loopback(server, host)
        if self._checks_hosts:
            self._require_host(host, forwarded)
        # Longer names are not worth their place.
        if len(host) + len(forwarded or "") < _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known.add((server, host, forwarded))

    def require_own(self, scope: Scope) -> None:
        """Refuse a change by a browser that does not prove that it comes from a page of this service.

        For requests with a cookie, which a browser also adds to requests that other sites make. Unlike :meth:`check`,
        this requires proof and trusts no other origin.

        Raises:
            ServiceError: cross_origin.
        """
        if scope.get("method") in _READING:
            return
        site, origin = header_of(scope, b"sec-fetch-site"), header_of(scope, b"origin")
        is_own = origin is not None and self._is_own(scope, origin)
        if (site is None and not is_own) or (site is not None and site != "same-origin") or (origin and not is_own):
            raise ServiceError(
                "cross_origin",
                "The browser did not prove that the request comes from a page of this service: "
                f"Origin is {(origin or 'missing')[:200]}, Sec-Fetch-Site is {(site or 'missing')[:200]}.",
                hint="Send the form from the page of the service itself. A reverse proxy that replaces the Host must "
                "send X-Forwarded-Host and be listed in PGDBM_TRUSTED_PROXIES; or set PGDBM_PUBLIC_ORIGIN.",
            )

    def _is_own(self, scope: Scope, origin: str) -> bool:
        if self._public is not None and origin == self._public:
            return True
        return urlsplit(origin).netloc in (header_of(scope, b"host"), self._proxies.host_of(scope))

    def _require_host(self, host: str, forwarded: str | None) -> None:
        """Refuse a Host that is neither an IP address nor a known name; ``forwarded``: by a trusted proxy.

        A page whose host name was pointed at this service (DNS rebinding) sends its own host name. Without
        authentication, such a page could do everything.
        """
        for one in [given for given in (host, forwarded) if given] or [""]:
            if _is_address(one):
                continue
            name = _host_name(one).lower()
            if not any(fnmatchcase(name, glob) for glob in self._hosts):
                raise ServiceError(
                    "host_not_allowed",
                    f"The service is not configured for the Host {name!r}.",
                    hint="Use an IP address or localhost, or add the name to PGDBM_ALLOWED_HOSTS.",
                )

    def _require_origin(self, scope: Scope) -> None:
        """Refuse a change that a page of another site made the browser request. Programs send no Origin."""
        origin = header_of(scope, b"origin")
        if origin is None and header_of(scope, b"sec-fetch-site") in _OTHER_SITES:
            origin = "null"
        if origin is None or origin in self._origins or _ANY in self._origins:
            return
        if not self._is_own(scope, origin):
            raise ServiceError(
                "cross_origin",
                f"The request was made by a page of another origin, {origin[:200]}.",
                hint="If the page is trusted, add its origin to PGDBM_CORS_ORIGINS. A reverse proxy that replaces the "
                "Host must send X-Forwarded-Host and be listed in PGDBM_TRUSTED_PROXIES.",
            )


def _require_loopback(server: tuple[str, int | None] | None, host: str) -> None:
    """Refuse a request that did not arrive over loopback, regardless of the address that the server listens on."""
    # A Unix socket has no port. Its file mode restricts who may connect.
    over_socket = server is not None and server[1] is None
    if not over_socket and (server is None or not _is_loopback(server[0])):
        raise ServiceError("not_loopback", "No auth is configured, so only connections over loopback are served.")
    if not _is_loopback(host):
        raise ServiceError("not_loopback", "No auth is configured, so the Host must be localhost, 127.0.0.1 or [::1].")


def _host_name(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host


def _is_loopback(host: str) -> bool:
    return is_loopback(_host_name(host))


def _is_address(host: str) -> bool:
    """Whether ``host``, with or without a port, is an address or ``localhost``."""
    name = _host_name(host)
    if is_loopback(name):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def origin_of(request: HTTPRequest) -> str:
    """The scheme and the host that the browser uses, even behind a trusted proxy that terminates TLS."""
    proxies: TrustedProxies = request.app.state["trusted_proxies"]
    sign_ins: SignIns = request.app.state["sign_ins"]
    url = request.base_url
    host = proxies.host_of(request.scope) or url.netloc
    return sign_ins.public_origin or f"{proxies.scheme_of(request.scope) or url.scheme}://{host}"
