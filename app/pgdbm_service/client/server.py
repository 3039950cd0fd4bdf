"""Where the service is, and how a client makes itself known there."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING

import httpx

from .errors import ClientError, UnsafeServerError

if TYPE_CHECKING:
    from collections.abc import Generator

Token = str | Callable[[], str]
"""A token, or what gives the one that is valid now: those of Kubernetes change under way."""


class Bearer(httpx.Auth):
    """Sends the token with each request. It stands in no message, and in no repr."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._token if isinstance(self._token, str) else self._token()
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise ClientError("The token is empty, or has characters that no token has.")
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


def checked_address(server: str, *, with_token: bool, allow_http: bool) -> httpx.URL:
    """The address of the service.

    Raises:
        ClientError: it is none, or holds credentials.
        UnsafeServerError: a token would travel in the clear.
    """
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL as error:
        raise ClientError(f"The server's address is no URL: {error}.") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ClientError("The server's address is not like https://pgdbm.example.com.")
    if url.userinfo:
        raise ClientError("The server's address holds credentials. Give a token, and the address without them.")
    if with_token and url.scheme == "http" and not allow_http and not is_loopback(url.host):
        raise UnsafeServerError(
            f"The token would travel to {url.host} in the clear: use https, or allow http on a network that you trust."
        )
    return url


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
