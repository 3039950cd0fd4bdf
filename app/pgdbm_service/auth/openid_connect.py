"""Signing in at an identity provider: OpenID Connect, the authorization code flow with PKCE.

The values that the answer must match are derived from a secret that is only in the browser's cookie, so any replica
can handle the callback:

- ``state``: the answer belongs to the request of this browser (cross-site request forgery).
- ``code_verifier``: a stolen code cannot be redeemed without the cookie.
- ``nonce``: the ID token was made for this request.

The cookie also names the provider, and each provider has its own redirect URI. So a code from one provider is never
sent to another one (a mix-up attack), even if the provider does not send ``iss`` with its answer.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx2
import msgspec
import structlog

from ..errors import ServiceError
from ..settings import is_safe_url
from .issuer import SignIn, read_answer
from .tokens import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..settings import IssuerSettings
    from ..web.request import Principal
    from .issuer import Discovery, Issuers

_TIMEOUT_S = 10.0
_MAX_LOGGED = 200

logger = structlog.get_logger("pgdbm_service")


class _Tokens(msgspec.Struct):
    id_token: str


class Attempt:
    """An attempt to sign in. ``secret`` is in the cookie and nowhere else."""

    def __init__(self, secret: str | None = None) -> None:
        self.secret = secret or secrets.token_urlsafe(32)
        self.state = self._derived("state")
        self.nonce = self._derived("nonce")
        self.verifier = self._derived("code_verifier")

    @property
    def challenge(self) -> str:
        return _base64(sha256(self.verifier.encode()).digest())

    def _derived(self, name: str) -> str:
        return _base64(hmac.digest(self.secret.encode(), name.encode(), "sha256"))


class IdentityProvider:
    """An issuer in the settings at which the service is registered as a client. ``key`` is its name in addresses."""

    def __init__(self, settings: IssuerSettings, issuers: Issuers) -> None:
        self._settings = settings
        self._issuers = issuers
        self._client_id = settings.oidc_client_id or ""
        self.issuer = settings.issuer
        self.name = settings.oidc_name
        self.key = settings.oidc_name.lower()

    async def address(self, attempt: Attempt, redirect_uri: str) -> str:
        """The URL at which the browser signs in.

        Raises:
            ServiceError: issuer_unavailable.
        """
        endpoint = self._endpoint(await self._issuers[self.issuer].discover(), "authorization_endpoint")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._client_id,
                "redirect_uri": redirect_uri,
                "scope": self._settings.oidc_scopes,
                "state": attempt.state,
                "nonce": attempt.nonce,
                "code_challenge": attempt.challenge,
                "code_challenge_method": "S256",
            }
        )
        return _with_query(endpoint, query)

    async def sign_out_address(self, return_to: str) -> str | None:
        """The URL at which the browser signs out, and is sent back to ``return_to``; None if the provider has none.

        Raises:
            ServiceError: issuer_unavailable.
        """
        discovery = await self._issuers[self.issuer].discover()
        if not discovery.end_session_endpoint:
            return None
        # Without id_token_hint, which would put a token into a URL; the provider asks the user instead.
        query = urlencode({"client_id": self._client_id, "post_logout_redirect_uri": return_to})
        return _with_query(self._endpoint(discovery, "end_session_endpoint"), query)

    async def principal(self, answer: Mapping[str, str], attempt: Attempt, redirect_uri: str) -> Principal:
        """The principal that signed in, from the query of the callback.

        Raises:
            InvalidTokenError: the answer does not belong to this attempt, or the provider refused.
            ServiceError: issuer_unavailable.
        """
        if not hmac.compare_digest(answer.get("state", "").encode(), attempt.state.encode()):
            raise InvalidTokenError("the state in the answer does not belong to this browser")
        discovery = await self._issuers[self.issuer].discover()
        sender = answer.get("iss")
        if sender != self.issuer and (sender is not None or discovery.authorization_response_iss_parameter_supported):
            raise InvalidTokenError("the answer is not from the identity provider that the request went to (iss)")
        if "error" in answer:
            # The text is part of the URL, so anyone could have written it: it is logged, but not shown.
            reason = {name: answer.get(name, "")[:_MAX_LOGGED] for name in ("error", "error_description")}
            logger.info("refused by the identity provider", issuer=self.issuer, reason=repr(reason))
            raise InvalidTokenError("the identity provider refused to sign you in")
        code = answer.get("code")
        if not code:
            raise InvalidTokenError("the answer has no code")
        token = await self._redeem(self._endpoint(discovery, "token_endpoint"), discovery, code, attempt, redirect_uri)
        return await self._issuers.verify(token, SignIn(self._client_id, attempt.nonce), issued_by=self.issuer)

    async def _redeem(self, endpoint: str, discovery: Discovery, code: str, attempt: Attempt, redirect_uri: str) -> str:
        """The ID token for ``code``."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": attempt.verifier,
        }
        headers = {"Accept": "application/json"}
        try:
            secret = self._secret()
            if secret is not None and "client_secret_basic" in discovery.token_endpoint_auth_methods_supported:
                pair = f"{quote_plus(self._client_id)}:{quote_plus(secret)}"
                headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
            else:
                form["client_id"] = self._client_id
                if secret is not None:
                    form["client_secret"] = secret
            async with (
                asyncio.timeout(_TIMEOUT_S),
                self._issuers[self.issuer].client() as client,
                client.stream("POST", endpoint, data=form, headers=headers) as response,
            ):
                body = await read_answer(response)
            if response.is_client_error:
                logger.warning(
                    "code refused by the identity provider",
                    issuer=self.issuer,
                    http_status=response.status_code,
                    reason=_error_in(body),
                )
                raise InvalidTokenError("the identity provider refused the code; the log has the reason")
            response.raise_for_status()
            return msgspec.json.decode(body, type=_Tokens).id_token
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, msgspec.MsgspecError) as error:
            # The text of the error may quote the answer, which contains tokens.
            logger.warning("code not redeemed", issuer=self.issuer, error_type=type(error).__name__)
            raise ServiceError(
                "issuer_unavailable", "The identity provider cannot be reached at the moment, or its answer is invalid."
            ) from None

    def _secret(self) -> str | None:
        # The file is read each time because the secret may be renewed.
        path = self._settings.oidc_client_secret_file
        return None if path is None else path.read_text().strip()

    def _endpoint(self, discovery: Discovery, name: str) -> str:
        endpoint: str = getattr(discovery, name)
        if not is_safe_url(endpoint):
            logger.warning("the identity provider has no safe endpoint", issuer=self.issuer, reason=name)
            raise ServiceError(
                "issuer_unavailable", f"The identity provider publishes no {name} that starts with https://."
            )
        return endpoint


def providers_of(settings: Sequence[IssuerSettings], issuers: Issuers) -> dict[str, IdentityProvider]:
    """The identity providers in the settings, by their ``key``."""
    found = [IdentityProvider(one, issuers) for one in settings if one.oidc_client_id is not None]
    return {one.key: one for one in found}


def _with_query(endpoint: str, query: str) -> str:
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"


def _error_in(body: bytes) -> str:
    """The error code in an answer, such as ``invalid_grant``."""
    try:
        error = msgspec.json.decode(body, type=dict[str, object]).get("error")
    except msgspec.MsgspecError:
        return "no JSON"
    return repr(error)[:_MAX_LOGGED]


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
