"""JWTs of the configured issuers: verified with their published keys, their claims mapped to scopes."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import jwt
import msgspec
import structlog
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidSignatureError,
    MissingRequiredClaimError,
)

from ..api.scopes import is_scope
from ..errors import ServiceError
from ..settings import is_safe_url
from ..web.request import Principal
from .tokens import InvalidTokenError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..settings import IssuerSettings

T = TypeVar("T")

# An issuer publishes new keys days before it uses them; a key that it withdraws stops working after this time.
_KEYS_FOR_S = 300.0
# Anyone can send tokens with unknown key ids, so not every one of them may cause a request to the issuer.
_ASK_AGAIN_S = 10.0
_TIMEOUT_S = 5.0
_MAX_ANSWER_BYTES = 1024 * 1024
_LEEWAY_S = 30
_MAX_SUBJECT = 255
_MAX_LOGGED = 200
# The algorithms of each kind of key, by its ``kty`` and ``crv``: the header of a token only chooses among them.
_ALGORITHMS: dict[tuple[str | None, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}

_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError, ValueError, msgspec.MsgspecError)

logger = structlog.get_logger("pgdbm_service")


class Discovery(msgspec.Struct):
    """The part of an issuer's metadata that is used here."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    end_session_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class _Key(msgspec.Struct, frozen=True):
    """A public key of ``cryptography``, and the algorithms that it may be used with."""

    key: Any
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignIn:
    """What the ID token of one attempt to sign in must contain."""

    client_id: str
    nonce: str


class Issuers:
    """The issuers in the settings; a token selects one by its ``iss``."""

    def __init__(self, settings: Sequence[IssuerSettings]) -> None:
        # The names of all issuers but the first are part of the principals' names, because issuers may use the same
        # subjects.
        self._issuers = {one.issuer: Issuer(one, is_named=number > 0) for number, one in enumerate(settings)}

    def __getitem__(self, name: str) -> Issuer:
        return self._issuers[name]

    async def verify(self, token: str, sign_in: SignIn | None = None, *, issued_by: str | None = None) -> Principal:
        """The principal of ``token``, or of an ID token from ``issued_by`` for ``sign_in``.

        Raises:
            InvalidTokenError: the token is invalid. The log has its reason with the values of the claims.
            ServiceError: issuer_unavailable.
        """
        try:
            unverified = jwt.decode_complete(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            raise InvalidTokenError("it is not a JWT") from None
        header, claims = unverified["header"], unverified["payload"]
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        try:
            if issuer is None:
                raise InvalidTokenError("its issuer (iss) is not configured")
            if issued_by is not None and name != issued_by:
                raise InvalidTokenError("its issuer (iss) is not the one that the request went to")
            return await issuer.verify(token, header, sign_in)
        except InvalidTokenError as error:
            claimed = {name: repr(claims.get(name))[:_MAX_LOGGED] for name in ("iss", "aud", "sub", "exp")}
            key = {name: repr(header.get(name))[:_MAX_LOGGED] for name in ("alg", "kid")}
            logger.info("JWT refused", reason=str(error), **claimed, **key, issuers=list(self._issuers))
            raise


class Issuer:
    """One issuer. The keys are fetched when the first token needs them."""

    def __init__(self, settings: IssuerSettings, *, is_named: bool = False) -> None:
        self._settings = settings
        self._name = settings.issuer
        self._principal = f"jwt:{self._name}#" if is_named else "jwt:"
        self._tls = ssl.create_default_context(cafile=settings.jwks_ca_file)
        self._keys: dict[str | None, _Key] = {}
        self._fetched_at = self._asked_at = -float("inf")
        self._fetching = asyncio.Lock()
        self._discovered: Discovery | None = None
        self._discovered_at = -float("inf")
        self._discovering = asyncio.Lock()

    async def verify(self, token: str, header: dict[str, Any], sign_in: SignIn | None = None) -> Principal:
        """The principal of ``token``, which has the ``header``; with ``sign_in``, of an ID token.

        Raises:
            InvalidTokenError: the token is invalid.
            ServiceError: issuer_unavailable.
        """
        kid, algorithm = header.get("kid"), header.get("alg")
        if not any(algorithm in algorithms for algorithms in _ALGORITHMS.values()):
            raise InvalidTokenError("its algorithm (alg) is not supported")
        key = await self._key(kid)
        if key is None:
            raise InvalidTokenError("the issuer has no key with its key id (kid)")
        if algorithm not in key.algorithms:
            raise InvalidTokenError("its algorithm (alg) does not match the issuer's key")
        audience = self._settings.audience if sign_in is None else sign_in.client_id
        subject, claims = self._verified(token, key, algorithm, audience)
        if sign_in is not None:
            _check_id_token(claims, sign_in)
        return Principal(f"{self._principal}{subject}", tuple(dict.fromkeys(self._scopes(subject, claims))))

    async def discover(self) -> Discovery:
        """The issuer's configuration, fetched again after a while.

        Raises:
            ServiceError: issuer_unavailable.
        """
        async with self._discovering:
            if self._discovered is None or time.monotonic() - self._discovered_at > _KEYS_FOR_S:
                try:
                    async with asyncio.timeout(_TIMEOUT_S), self.client() as client:
                        self._discovered = await self._discover(client)
                except _FAILURES as error:
                    reason = f"{type(error).__name__}: {error}"
                    logger.warning("configuration of the issuer not fetched", issuer=self._name, reason=reason)
                    detail = "The configuration of the identity provider cannot be fetched at the moment."
                    raise ServiceError("issuer_unavailable", detail) from None
                self._discovered_at = time.monotonic()
            return self._discovered

    def client(self) -> httpx2.AsyncClient:
        """An HTTP client that trusts the certificate authority in the issuer's settings."""
        return httpx2.AsyncClient(verify=self._tls, timeout=_TIMEOUT_S)

    def _verified(self, token: str, key: _Key, algorithm: str, audience: str) -> tuple[str, dict[str, Any]]:
        """The subject and the claims, once the signature is verified."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                audience=audience,
                issuer=self._name,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except InvalidSignatureError:
            raise InvalidTokenError("its signature is invalid") from None
        except ExpiredSignatureError:
            raise InvalidTokenError("it has expired (exp)") from None
        except ImmatureSignatureError:
            raise InvalidTokenError("it is not valid yet (nbf, iat)") from None
        except InvalidAudienceError:
            raise InvalidTokenError("its audience (aud) is not the service's") from None
        except MissingRequiredClaimError as error:
            raise InvalidTokenError(f"it has no claim {error.claim}") from None
        except jwt.PyJWTError:
            raise InvalidTokenError("it is malformed, or a claim has an invalid type") from None
        subject = claims["sub"]
        # The subject is written to the audit and the log.
        if not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
            raise InvalidTokenError("its subject (sub) is empty, too long, or not printable")
        return subject, claims

    def _scopes(self, subject: str, claims: dict[str, Any]) -> Iterator[str]:
        claimed = claims.get(self._settings.scope_claim)
        # The claim may contain scopes of other services.
        yield from filter(is_scope, claimed.split() if isinstance(claimed, str) else _texts(claimed))
        for claim, scopes_by_glob in self._settings.claim_scopes.items():
            # Some providers let users enter any email address.
            if claim == "email" and claims.get("email_verified") is not True:
                continue
            for value in _texts(claims.get(claim)):
                for glob, scopes in scopes_by_glob.items():
                    if fnmatchcase(value, glob):
                        yield from scopes
        for glob, scopes in self._settings.subject_scopes.items():
            if fnmatchcase(subject, glob):
                yield from scopes

    async def _key(self, kid: str | None) -> _Key | None:
        if self._find(kid) is None or time.monotonic() - self._fetched_at > _KEYS_FOR_S:
            async with self._fetching:
                # Another task may have fetched the keys while this one waited for the lock.
                if self._find(kid) is None or time.monotonic() - self._fetched_at > _KEYS_FOR_S:
                    await self._refresh()
        if not self._keys:
            raise ServiceError("issuer_unavailable", "The keys of the JWT issuer cannot be fetched at the moment.")
        return self._find(kid)

    def _find(self, kid: str | None) -> _Key | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was just tried. If it fails, the previous keys are kept."""
        now = time.monotonic()
        if now - self._asked_at < _ASK_AGAIN_S:
            return
        self._asked_at = now
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                keys = await self._fetch()
        except _FAILURES as error:
            reason = f"{type(error).__name__}: {error}"
            logger.warning("keys of the issuer not fetched", issuer=self._name, reason=reason)
            return
        self._keys, self._fetched_at = keys, now
        logger.info("keys of the issuer fetched", issuer=self._name, keys=len(keys))

    async def _fetch(self) -> dict[str | None, _Key]:
        headers = {}
        if self._settings.jwks_token_file is not None:
            # The file is read each time, since Kubernetes renews the token.
            headers["Authorization"] = f"Bearer {self._settings.jwks_token_file.read_text().strip()}"
        async with self.client() as client:
            address = self._settings.jwks_url
            if address is None:
                address = (await self._discover(client)).jwks_uri
            return dict(_usable(await _get(client, address, headers, _KeySet)))

    async def _discover(self, client: httpx2.AsyncClient) -> Discovery:
        found = await _get(client, f"{self._name.rstrip('/')}/.well-known/openid-configuration", {}, Discovery)
        if found.issuer != self._name:
            raise ValueError(f"its configuration belongs to {found.issuer!r}")
        if not is_safe_url(found.jwks_uri):
            raise ValueError("the jwks_uri in its configuration does not start with https://")
        return found


def _texts(claim: Any) -> list[str]:
    """The strings of a claim: a single one, or those of an array."""
    return [one for one in (claim if isinstance(claim, list) else [claim]) if isinstance(one, str)]


def _check_id_token(claims: dict[str, Any], sign_in: SignIn) -> None:
    """What an ID token must have in addition to what every JWT must have (OpenID Connect Core, 3.1.3.7)."""
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not compare_digest(nonce.encode(), sign_in.nonce.encode()):
        raise InvalidTokenError("its nonce does not belong to this sign-in attempt")
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if claims.get("azp", sign_in.client_id) != sign_in.client_id or (len(audiences) > 1 and "azp" not in claims):
        raise InvalidTokenError("it was issued to another client (azp)")


async def read_answer(response: httpx2.Response) -> bytes:
    """The body of a streamed response.

    Raises:
        ValueError: it is too large.
    """
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > _MAX_ANSWER_BYTES:
            raise ValueError("the answer is too large")
    return body


async def _get(client: httpx2.AsyncClient, url: str, headers: dict[str, str], kind: type[T]) -> T:
    async with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        body = await read_answer(response)
    return msgspec.json.decode(body, type=kind)


def _usable(found: _KeySet) -> Iterator[tuple[str | None, _Key]]:
    """The keys for supported signatures by their id; others are skipped."""
    for data in found.keys:
        kind = data.get("kty")
        possible = _ALGORITHMS.get((kind, None if kind == "RSA" else data.get("crv")), ())
        allowed = tuple(one for one in possible if data.get("alg", one) == one)
        if not allowed or data.get("use", "sig") != "sig":
            continue
        try:
            key = jwt.PyJWK(data, allowed[0])
        except jwt.PyJWTError:
            continue
        yield key.key_id, _Key(key.key, allowed)
