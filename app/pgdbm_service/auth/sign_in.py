"""Signing in to the dashboard: with a token of the service, or at an identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from pgdbm.text import sentence

from ..errors import ServiceError
from .tokens import InvalidTokenError, id_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..web.request import Principal
    from .failure_limiter import FailureLimiter
    from .middleware import Authenticator
    from .openid_connect import IdentityProvider
    from .sessions import Sessions

logger = structlog.get_logger("pgdbm_service")


class SignIns:
    """Verifies credentials, and starts sessions. Without an ``authenticator``, signing in is not needed."""

    def __init__(
        self,
        authenticator: Authenticator | None,
        sessions: Sessions,
        limiter: FailureLimiter,
        providers: Mapping[str, IdentityProvider],
        public_origin: str | None,
    ) -> None:
        self._authenticator = authenticator
        self._sessions = sessions
        self._limiter = limiter
        self._providers = providers
        self.public_origin = public_origin or ""

    @property
    def is_needed(self) -> bool:
        return self._authenticator is not None

    @property
    def providers(self) -> Sequence[IdentityProvider]:
        return tuple(self._providers.values())

    async def with_token(self, token: str, address: str) -> tuple[Principal, str]:
        """Sign in with a token; returns the principal and the cookie of the new session.

        Raises:
            ServiceError: unauthenticated, too_many_attempts, database_unavailable.
        """
        if self._authenticator is None:
            raise ServiceError("not_found", "No auth is configured, so signing in is not needed.")
        principal = await self._authenticator.verify_token(token, address)
        cookie = await self._sessions.start(principal, address, token_id=id_in(token))
        logger.info("signed in", principal=principal.name, address=address)
        return principal, cookie

    async def begin(self, key: str, prefix: str) -> tuple[str, str]:
        """The URL at which the browser signs in at the provider ``key``, and the secret of this attempt.

        Raises:
            ServiceError: not_found, issuer_unavailable.
        """
        # Imports cryptography and an HTTP client, which are already loaded if a provider is configured.
        from .openid_connect import Attempt

        attempt = Attempt()
        return await self._provider(key).address(attempt, self._redirect_uri(key, prefix)), attempt.secret

    async def finish(
        self, key: str, secret: str, answer: Mapping[str, str], prefix: str, address: str
    ) -> tuple[Principal, str]:
        """Sign in with the ``answer`` of the provider ``key`` to the attempt with ``secret``.

        Raises:
            ServiceError: not_found, unauthenticated, too_many_attempts, issuer_unavailable, database_unavailable.
        """
        from .openid_connect import Attempt

        provider = self._provider(key)
        # Limited because each answer may cause a request to the provider.
        self._limiter.check(address, secret)
        try:
            principal = await provider.principal(answer, Attempt(secret), self._redirect_uri(key, prefix))
        except InvalidTokenError as error:
            self._limiter.record_failure(address, secret)
            logger.info("sign-in refused", issuer=provider.issuer, reason=str(error), address=address)
            raise ServiceError("unauthenticated", sentence(f"You were not signed in: {error}")) from None
        cookie = await self._sessions.start(principal, address, issuer=provider.issuer)
        logger.info("signed in", principal=principal.name, address=address, issuer=provider.issuer)
        return principal, cookie

    async def sign_out_address(self, issuer: str | None, prefix: str) -> str | None:
        """The URL at which the browser signs out at ``issuer`` after its session here has ended.

        None if the session was not started there, or if the provider does not publish such a URL or cannot be reached.
        """
        provider = next((one for one in self._providers.values() if one.issuer == issuer), None)
        if provider is None:
            return None
        try:
            return await provider.sign_out_address(f"{self.public_origin}{prefix}/ui/sign-in")
        except ServiceError:
            logger.warning("not signed out at the identity provider", issuer=issuer)
            return None

    def _provider(self, key: str) -> IdentityProvider:
        provider = self._providers.get(key)
        if provider is None:
            raise ServiceError("not_found", f"There is no identity provider {key[:60]!r}.")
        return provider

    def _redirect_uri(self, key: str, prefix: str) -> str:
        """Taken from the settings, because the Host of a request could be anything."""
        return f"{self.public_origin}{prefix}/ui/sign-in/{key}/callback"
