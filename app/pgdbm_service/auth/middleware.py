"""Authentication and authorization of every request that has a route.

Handlers with ``cookie`` in their ``opt`` accept the cookie of a session too: ``"page"`` for pages of the dashboard,
``"stream"`` for a stream of the API, for which a ticket in the URL is accepted as well. All other handlers ignore both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from pgdbm.text import sentence

from ..database.slots import current_principal
from ..errors import ServiceError
from ..web.headers import header_of
from ..web.problems import HTTPError
from ..web.request import ANONYMOUS, UNRESTRICTED, Principal
from .cookies import SESSION
from .session_streams import call_until_session_ends
from .tokens import InvalidTokenError

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

    from ..web.http_methods import AllowedMethods
    from .access import Access
    from .cookies import Cookies
    from .failure_limiter import FailureLimiter
    from .issuer import Issuers
    from .origins import Origins
    from .sessions import Session, Sessions
    from .verifier import TokenVerifier

_INVALID = ', error="invalid_token"'
_SIGNED_OUT = "The session has ended. Sign in again."
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_BEARER = re.compile(r"bearer +([!-~]+) *\Z", re.IGNORECASE)


class Authenticator:
    """Authenticates clients by their bearer token or session. Without ``issuers`` JWTs are not accepted."""

    def __init__(
        self, verifier: TokenVerifier, issuers: Issuers | None, sessions: Sessions, limiter: FailureLimiter
    ) -> None:
        self._verifier = verifier
        self._sessions = sessions
        self._issuers = issuers
        self._limiter = limiter

    async def authenticate(self, headers: list[str], address: str) -> Principal:
        """The principal of a request with these Authorization ``headers`` from ``address``.

        Raises:
            ServiceError: unauthenticated, too_many_attempts, issuer_unavailable, database_unavailable.
        """
        if not headers:
            self._limiter.record_missing(address)
            raise _unauthenticated("An Authorization header with a bearer token is required.")
        found = _BEARER.match(headers[0]) if len(headers) == 1 else None
        credentials = found[1] if found else ""
        # A JWT has three parts, separated by dots; the service's own tokens contain no dots.
        if self._issuers is not None and credentials.count(".") == 2:
            return await self._verify_jwt(self._issuers, credentials, address)
        return await self.verify_token(credentials, address)

    async def authenticate_ticket(self, ticket: str, address: str) -> Principal:
        """The principal of a ticket for a stream.

        Raises:
            ServiceError: unauthenticated, too_many_attempts, database_unavailable.
        """
        self._limiter.check(address, ticket)
        principal = await self._verifier.verify_ticket(ticket)
        if principal is None:
            self._limiter.record_failure(address, ticket)
            raise _unauthenticated("The ticket is unknown or has expired: POST /events/ticket makes another.")
        return principal

    async def authenticate_session(self, cookie: str, address: str, *, is_use: bool) -> Session:
        """The session of ``cookie``.

        Raises:
            ServiceError: unauthenticated, database_unavailable.
        """
        try:
            self._limiter.check(address, cookie, "session")
        except ServiceError:
            # Only sessions with a known id are read.
            if not await self._sessions.has_id(cookie):
                raise _unauthenticated(_SIGNED_OUT) from None
        session = await self._sessions.find(cookie, is_use=is_use)
        if session is None:
            self._limiter.record_failure(address, cookie, "session")
            raise _unauthenticated(_SIGNED_OUT)
        self._limiter.record_success(cookie)
        return session

    async def _verify_jwt(self, issuers: Issuers, token: str, address: str) -> Principal:
        """Verified before the limit is checked: that needs no database, and other clients may share the address."""
        try:
            return await issuers.verify(token)
        except InvalidTokenError as error:
            self._limiter.check(address, token)
            self._limiter.record_failure(address, token)
            raise _unauthenticated(sentence(f"The JWT was refused: {error}"), _INVALID) from None

    async def verify_token(self, token: str, address: str) -> Principal:
        """The principal of a token of the service.

        Raises:
            ServiceError: unauthenticated, too_many_attempts, database_unavailable.
        """
        try:
            self._limiter.check(address, token)
        except ServiceError:
            # Another client with the same address used up its failures. Only tokens with a known id are looked up.
            if not await self._verifier.has_id(token):
                raise
        principal = await self._verifier.verify(token)
        if principal is None:
            self._limiter.check(address, token)
            self._limiter.record_failure(address, token)
            raise _unauthenticated("The token is unknown, has expired or was revoked.", _INVALID)
        self._limiter.record_success(token)
        return principal


class Admission:
    """Sets ``scope["user"]``, and refuses requests by their origin and by their principal's scopes.

    ``authenticator`` is None if no auth is configured. Litestar's guards are not used, because it copies the handler
    for each guard of each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        authenticator: Authenticator | None,
        origins: Origins,
        methods: AllowedMethods,
        sessions: Sessions,
        cookies: Cookies,
    ) -> None:
        self._app = app
        self._access = access
        self._authenticator = authenticator
        self._origins = origins
        self._methods = methods
        self._sessions = sessions
        self._cookies = cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler, or raise a ServiceError."""
        handler = scope["route_handler"]
        need = self._access.need_of(handler)
        principal, session = UNRESTRICTED if self._authenticator is None else ANONYMOUS, None
        if self._authenticator is not None and need is not None:
            cookie_for = handler.opt.get("cookie")
            authorizations = _authorizations(scope)
            cookie = None if cookie_for is None or authorizations else self._cookies.read(scope, SESSION)
            address = scope["state"]["address"]
            ticket = None if cookie_for != "stream" or authorizations else _ticket(scope)
            if ticket is not None:
                principal = await self._authenticator.authenticate_ticket(ticket, address)
            elif cookie is not None:
                session = await self._authenticator.authenticate_session(cookie, address, is_use=_is_use(scope))
                principal = session.principal
            elif cookie_for == "page" and not authorizations and scope.get("method") in _READING:
                # Not counted as a failed attempt: the answer is the sign-in page.
                raise _unauthenticated("Sign in first.")
            else:
                principal = await self._authenticator.authenticate(authorizations, address)
            scope["auth"] = "bearer" if session is None else "session"
        scope["user"] = principal
        current_principal.set(principal.name)
        self._origins.check(scope)
        if self._authenticator is not None and handler.opt.get("cookie") == "page" and scope.get("auth") != "bearer":
            self._origins.require_own(scope)
        if scope.get("method") == "OPTIONS":
            await self._methods.answer(scope["path_template"], send)
            return
        if session is None:
            self._access.require(principal, need, scope["path_params"])
            await self._app(scope, receive, send)
            return
        scope["state"]["session"] = session
        self._access.require(principal, need, scope["path_params"])
        if scope.get("method") in _READING:
            await call_until_session_ends(self._app, scope, receive, send, self._sessions, session.id)
        else:
            await self._app(scope, receive, send)


def _is_use(scope: Scope) -> bool:
    """Whether a user made the request, rather than an open page by itself. Streams and polls of an open page do not
    prolong the session."""
    return header_of(scope, b"sec-fetch-mode") in (None, "navigate")


def _ticket(scope: Scope) -> str | None:
    values = parse_qs(scope["query_string"].decode("latin-1")).get("ticket")
    return values[0] if values else None


def _authorizations(scope: Scope) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]


def _unauthenticated(detail: str, more: str = "") -> HTTPError:
    return HTTPError("unauthenticated", detail, headers={"WWW-Authenticate": f'Bearer realm="pgdbm"{more}'})
