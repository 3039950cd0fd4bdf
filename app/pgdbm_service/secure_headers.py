"""Headers that keep a browser from doing more with an answer than it is for. A handler's own come first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar.types import Message, Send

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # An answer is data: nothing in it may be run or loaded. Pages say what they need.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
)
# What is in an answer may be for this caller alone, and is old a moment later.
_NO_STORE = (b"cache-control", b"no-store")
_STATIC = "/static/"


def with_secure_headers(send: Send, path: str) -> Send:
    """``send`` for an answer to a request of ``path``. Only static files may be kept by caches."""
    wanted = _HEADERS if path.startswith(_STATIC) else (*_HEADERS, _NO_STORE)

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(header for header in wanted if header[0] not in there)]
        await send(message)

    return send_with_headers
