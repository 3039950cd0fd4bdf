"""What comes before every handler: from the Authorization header to a caller, and whether they may."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import Problem
from .callers import ANYBODY, NOBODY, Caller
from .origins import require_loopback, require_same_origin

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

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


class Admission:
    """Sets ``scope["user"]``, and refuses what comes from where it may not, or from who may not.

    ``authenticator`` is None where no auth is configured: everybody may do everything. Litestar's guards are not used:
    for each guard of each request it copies the handler.
    """

    def __init__(
        self, app: ASGIApp, access: Access, authenticator: Authenticator | None, *, loopback_only: bool
    ) -> None:
        self._app = app
        self._access = access
        self._authenticator = authenticator
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request with a Problem, or go on."""
        need = self._access.need_of(scope["route_handler"])
        caller = ANYBODY if self._authenticator is None else NOBODY
        if self._authenticator is not None and need is not None:
            caller = await self._authenticator.caller(_authorizations(scope), scope["state"]["address"])
            scope["auth"] = "bearer"
        scope["user"] = caller
        if self._loopback_only:
            require_loopback(scope)
        require_same_origin(scope)
        self._access.require(caller, need, scope["path_params"])
        await self._app(scope, receive, send)


def _authorizations(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]


def _unauthenticated(detail: str, more: str = "") -> Problem:
    return Problem("unauthenticated", detail, headers={"WWW-Authenticate": f'Bearer realm="pgdbm"{more}'})
