"""The address of the service, and authentication with a token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx2

from pgdbm.dsn import is_loopback
from pgdbm.text import sentence

from .errors import ClientError, UnsafeServerError

if TYPE_CHECKING:
    from collections.abc import Generator

Token = str | Callable[[], str]
"""A token, or a function that returns the current one: Kubernetes renews its tokens."""


class Bearer(httpx2.Auth):
    """Sends the token with each request. No message or repr contains it."""

    def __init__(self, token: Token) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        token = self._token if isinstance(self._token, str) else self._token()
        if not token.isascii() or not token.isprintable() or " " in token or not token:
            raise ClientError("The token is empty or contains invalid characters.")
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


def checked_address(server: str, *, with_token: bool, allow_http: bool) -> httpx2.URL:
    """The address of the service.

    Raises:
        ClientError: ``server`` is not a URL, or contains credentials.
        UnsafeServerError: a token would be sent unencrypted.
    """
    try:
        url = httpx2.URL(server)
    except httpx2.InvalidURL as error:
        raise ClientError(sentence(f"The server's address is not a URL: {error}")) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ClientError("The server's address must look like https://pgdbm.example.com.")
    if url.userinfo:
        raise ClientError("The server's address contains credentials. Remove them, and use a token.")
    if with_token and url.scheme == "http" and not allow_http and not is_loopback(url.host):
        raise UnsafeServerError(
            f"The token would be sent to {url.host} unencrypted: use https, or allow http on a trusted network."
        )
    return url
