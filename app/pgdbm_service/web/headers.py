"""Request headers, read from the ASGI scope because building a mapping is slower, and security headers of answers."""

from __future__ import annotations

import re
from operator import itemgetter
from typing import TYPE_CHECKING

from litestar.config.cors import CORSConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from litestar.types import Message, Scope, Send


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # Answers are data: nothing in them may be executed or loaded. Pages override this header.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
)
# An answer may be meant for one principal only, and is soon outdated.
_NOT_STORED = (*_HEADERS, (b"cache-control", b"no-store"))
_NAMES = frozenset(name for name, _ in _NOT_STORED)
_name_of = itemgetter(0)
_STATIC = "/static/"
_CORS_REQUEST_HEADERS = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID", "Prefer"),
    *("X-Request-ID", "traceparent"),
)
_CORS_ANSWER_HEADERS = ("ETag", "Location", "Preference-Applied", "Retry-After", "WWW-Authenticate", "X-Request-ID")


def cors(origins: Sequence[str]) -> CORSConfig | None:
    """The CORS headers for pages of ``PGDBM_CORS_ORIGINS``; None if there are none."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=list(_CORS_REQUEST_HEADERS),
        expose_headers=list(_CORS_ANSWER_HEADERS),
    )


def with_common_headers(send: Send, scope: Scope) -> Send:
    """``send`` that adds the headers of every answer, and sets ``http_status`` in the state of ``scope``, which has the
    request's id. Caches may store only static files."""
    state = scope["state"]
    wanted = _HEADERS if scope["path"].startswith(_STATIC) else _NOT_STORED

    # Not a coroutine, which would take longer than what it does.
    def send_with_headers(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            state["http_status"] = message["status"]
            headers = message["headers"]
            added: Sequence[tuple[bytes, bytes]] = wanted
            if not _NAMES.isdisjoint(map(bytes.lower, map(_name_of, headers))):
                present = {name.lower() for name, _ in headers}
                added = [one for one in wanted if one[0] not in present]
            message["headers"] = [*headers, *added, (b"x-request-id", state["request_id"].encode())]
        return send(message)

    return send_with_headers


def header_of(scope: Scope, name: bytes) -> str | None:
    """The first header called ``name`` (lower case); None if there is none."""
    for header, value in scope["headers"]:
        if header == name:
            return value.decode("latin-1")
    return None


def traceparent_of(scope: Scope) -> str | None:
    """The traceparent of the request's own span, or the one in its header; None if there is no valid one."""
    own: str | None = scope["state"].get("traceparent")
    if own is not None:
        return own
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"]
    return sent[0] if len(sent) == 1 and _TRACEPARENT.fullmatch(sent[0]) else None
