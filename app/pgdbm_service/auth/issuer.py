"""JWTs of a configured issuer: checked with its published keys, their claims mapped to scopes."""

from __future__ import annotations

import asyncio
import ssl
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import jwt
import msgspec
import structlog

from ..errors import Problem
from ..scopes import is_scope
from ..settings import is_safe_url
from .callers import Caller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..settings import Settings

T = TypeVar("T")

# An issuer that changes its keys does so days ahead; a key that it withdraws stops working after this.
_KEYS_FOR_S = 300.0
# Anybody can send a token with an unknown key id: that must not make us ask the issuer each time.
_ASK_AGAIN_S = 10.0
_PATIENCE_S = 5.0
_LARGEST_ANSWER = 1024 * 1024
# Clocks differ.
_LEEWAY_S = 30
_LONGEST_SUBJECT = 255
# The only algorithms, by the type of the key: a token's own header never chooses how it is checked.
_ALGORITHMS = {"RSA": "RS256", "EC": "ES256"}

logger = structlog.get_logger("pgdbm_service")


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    keys: list[dict[str, Any]]


class Issuer:
    """The issuer that the settings name. Its keys are fetched when the first token asks for them."""

    def __init__(self, settings: Settings) -> None:
        assert settings.jwt_issuer is not None
        self._name = settings.jwt_issuer
        self._settings = settings
        self._tls = ssl.create_default_context(cafile=settings.jwks_ca_file)
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = self._asked_at = -float("inf")
        self._fetching = asyncio.Lock()

    async def caller(self, token: str) -> Caller | None:
        """Whose ``token`` it is; None for one that is not right.

        Raises:
            Problem: issuer_unavailable.
        """
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in _ALGORITHMS.values():
                return None
            key = await self._key(header.get("kid"))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHMS[str(key.key_type)]],
                audience=self._settings.jwt_audience,
                issuer=self._name,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError:
            return None
        subject = claims["sub"]
        # It goes into the audit and the log.
        if not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
            return None
        return Caller(f"jwt:{subject}", tuple(dict.fromkeys(self._scopes(subject, claims))))

    def _scopes(self, subject: str, claims: dict[str, Any]) -> Iterator[str]:
        claimed = claims.get(self._settings.jwt_scope_claim, ())
        for scope in claimed.split() if isinstance(claimed, str) else claimed if isinstance(claimed, list) else ():
            # An issuer has scopes for others too.
            if isinstance(scope, str) and is_scope(scope):
                yield scope
        for glob, scopes in self._settings.jwt_subject_scopes.items():
            if fnmatchcase(subject, glob):
                yield from scopes

    async def _key(self, kid: str | None) -> jwt.PyJWK | None:
        if self._find(kid) is None or time.monotonic() - self._fetched_at > _KEYS_FOR_S:
            async with self._fetching:
                # Of many that wait for the same key, the first has fetched it by now.
                if self._find(kid) is None or time.monotonic() - self._fetched_at > _KEYS_FOR_S:
                    await self._refresh()
        if not self._keys:
            raise Problem("issuer_unavailable", "The keys of the configured issuer cannot be fetched right now.")
        return self._find(kid)

    def _find(self, kid: str | None) -> jwt.PyJWK | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was tried a moment ago. What fails leaves the keys that there are."""
        now = time.monotonic()
        if now - self._asked_at < _ASK_AGAIN_S:
            return
        self._asked_at = now
        try:
            async with asyncio.timeout(_PATIENCE_S):
                keys = await self._fetch()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
            logger.warning(
                "keys of the issuer not fetched", issuer=self._name, reason=f"{type(error).__name__}: {error}"
            )
            return
        self._keys, self._fetched_at = keys, now
        logger.info("keys of the issuer fetched", issuer=self._name, keys=len(keys))

    async def _fetch(self) -> dict[str | None, jwt.PyJWK]:
        headers = {}
        if self._settings.jwks_token_file is not None:
            # Read each time: Kubernetes renews it.
            headers["Authorization"] = f"Bearer {self._settings.jwks_token_file.read_text().strip()}"
        async with httpx.AsyncClient(verify=self._tls, timeout=_PATIENCE_S) as client:
            address = self._settings.jwks_url
            if address is None:
                found = await _get(client, f"{self._name.rstrip('/')}/.well-known/openid-configuration", {}, _Discovery)
                if found.issuer != self._name:
                    raise ValueError(f"its configuration is that of {found.issuer!r}")
                if not is_safe_url(found.jwks_uri):
                    raise ValueError("its configuration names keys that do not come over https")
                address = found.jwks_uri
            return dict(_usable(await _get(client, address, headers, _KeySet)))


async def _get(client: httpx.AsyncClient, url: str, headers: dict[str, str], kind: type[T]) -> T:
    body = b""
    async with client.stream("GET", url, headers=headers) as response:
        response.raise_for_status()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _LARGEST_ANSWER:
                raise ValueError("the answer is too large")
    return msgspec.json.decode(body, type=kind)


def _usable(found: _KeySet) -> Iterator[tuple[str | None, jwt.PyJWK]]:
    """The keys that sign RS256 or ES256, by their id; others are passed over."""
    for data in found.keys:
        algorithm = _ALGORITHMS.get(str(data.get("kty")))
        if algorithm is None or data.get("use", "sig") != "sig" or data.get("alg", algorithm) != algorithm:
            continue
        try:
            key = jwt.PyJWK(data, algorithm)
        except jwt.PyJWTError:
            continue
        yield key.key_id, key
