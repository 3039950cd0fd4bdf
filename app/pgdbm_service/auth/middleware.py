"""From the Authorization header to a caller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from ..errors import Problem
from .callers import ANYBODY, NOBODY, Caller

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.types import ASGIApp

    from .access import Access
    from .attempts import Attempts
    from .issuer import Issuer
    from .verifier import TokenVerifier

_BEARER = re.compile(r"bearer +([!-~]+) *\Z", re.IGNORECASE)


class Authenticator:
    """Tells callers by what they show. ``issuer`` is None where no JWTs are taken."""

    def __init__(self, verifier: TokenVerifier, issuer: Issuer | None, attempts: Attempts) -> None:
        self._verifier = verifier
        self._issuer = issuer
        self._attempts = attempts

    async def caller(self, headers: list[str], address: str) -> Caller:
        """Who sends these Authorization ``headers``.

        Raises:
            Problem: unauthenticated, too_many_attempts, issuer_unavailable, database_unavailable.
        """
        if not headers:
            self._attempts.missing(address)
            raise _unauthenticated("This needs an Authorization header with a bearer token.")
        found = _BEARER.match(headers[0]) if len(headers) == 1 else None
        credentials = found[1] if found else ""
        self._attempts.before(address, credentials)
        caller = await self._verified(credentials)
        if caller is None:
            self._attempts.failed(address)
            raise _unauthenticated(
                "The Authorization header has no token that is good now: it is unknown, has expired, or was revoked.",
                ', error="invalid_token"',
            )
        self._attempts.succeeded(credentials)
        return caller

    async def _verified(self, credentials: str) -> Caller | None:
        # A JWT is three parts with dots between them; our own tokens have no dot.
        if self._issuer is not None and credentials.count(".") == 2:
            return await self._issuer.caller(credentials)
        return await self._verifier.caller(credentials)


class Authentication(AbstractAuthenticationMiddleware):
    """Sets ``scope["user"]``. ``authenticator`` is None where no auth is configured: everybody may do everything."""

    def __init__(self, app: ASGIApp, access: Access, authenticator: Authenticator | None) -> None:
        super().__init__(app)
        self._access = access
        self._authenticator = authenticator

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        if self._authenticator is None:
            return AuthenticationResult(ANYBODY, None)
        if self._access.need_of(connection.route_handler) is None:
            return AuthenticationResult(NOBODY, None)
        address: str = connection.scope["state"]["address"]
        caller = await self._authenticator.caller(connection.headers.getall("authorization", []), address)
        return AuthenticationResult(caller, "bearer")


def _unauthenticated(detail: str, more: str = "") -> Problem:
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": f'Bearer realm="pgdbm"{more}'})
