"""Conditional requests (RFC 9110): reads with an ETag of their content, and changes of a module's bundle."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import ServiceError
from .headers import header_of

if TYPE_CHECKING:
    from litestar.types import Scope, Send

# Answers that get no generated ETag: those that differ with each read, and those that already have one.
_WITHOUT_VALIDATOR = ("/health/", "/metrics", "/activity/", "/ui", "/static/")
_WITH_VALIDATOR = (b"application/json", b"application/vnd.oai.openapi+json", b"text/plain", b"text/markdown")
_OF_THE_CONTENT = (b"content-length", b"content-type")

# In hexadecimal digits. Processors have instructions for SHA-256, which takes half the time of BLAKE2 with them.
_TAG_LENGTH = 32
_TAGS = re.compile(r'\s*(?:W/)?"([^"]*)"\s*(?:,|\Z)')


class Preconditions(msgspec.Struct, frozen=True):
    """The two headers as they were sent."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check(self, digest: str | None) -> None:
        """Compare the headers with ``digest``, the digest of the current bundle; None: there is no such module.

        Raises:
            ServiceError: precondition_failed.
        """
        if self.if_match is not None and not _matches(self.if_match, digest):
            raise _failed("If-Match", digest)
        if self.if_none_match is not None and _matches(self.if_none_match, digest):
            raise _failed("If-None-Match", digest)


def with_validator(send: Send, scope: Scope) -> Send:
    """``send`` that adds an ETag of the content to the answer of a read, and sends 304 to a client that already has
    it."""
    if scope.get("method") != "GET" or scope["path"].startswith(_WITHOUT_VALIDATOR):
        return send
    held: Any = None

    async def send_or_not_modified(message: Any) -> None:
        nonlocal held
        if held is None:
            if message["type"] == "http.response.start" and _may_have_validator(message):
                held = message
            else:
                await send(message)
            return
        start, held = held, None
        if not message.get("more_body"):
            tag = sha256(message["body"]).hexdigest()[:_TAG_LENGTH]
            start["headers"] = [*start["headers"], (b"etag", b'"%b"' % tag.encode())]
            known = header_of(scope, b"if-none-match")
            if known is not None and _matches(known, tag):
                start["status"] = 304
                start["headers"] = [one for one in start["headers"] if one[0].lower() not in _OF_THE_CONTENT]
                message["body"] = b""
        await send(start)
        await send(message)

    return send_or_not_modified


def _may_have_validator(start: Any) -> bool:
    if start["status"] != 200:
        return False
    content = b""
    for name, value in start["headers"]:
        lower = name.lower()
        if lower == b"content-type":
            content = value
        elif lower == b"etag":
            return False
    return content.partition(b";")[0] in _WITH_VALIDATOR


def etag_of(digest: str) -> str:
    """``digest`` as the value of an ETag header."""
    return f'"{digest}"'


def _matches(header: str, digest: str | None) -> bool:
    if digest is None:
        return False
    return header.strip() == "*" or digest in _TAGS.findall(header) or header.strip() == digest


def _failed(header: str, digest: str | None) -> ServiceError:
    current = f"the current bundle is {digest}" if digest else "the module does not exist"
    return ServiceError(
        "precondition_failed", f"{header} does not match: {current}. Nothing was changed.", current_bundle=digest
    )
