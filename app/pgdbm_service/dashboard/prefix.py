"""Adds the prefix of a reverse proxy to the addresses in pages.

Templates, and the code that renders them, write addresses as if there were no prefix. Some of what they render is
shared by requests with different prefixes, so the prefix is added when the answer is sent.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestar.types import Send

_PAGE = b"text/html"
_STREAM = b"text/event-stream"


def with_prefix(send: Send, prefix: str) -> Send:
    """``send`` that adds ``prefix`` to every address of the service in pages, in streams of HTML, and in redirects."""
    start: dict[str, Any] | None = None
    rewritten = False
    address, replacement = _addresses(prefix)

    async def send_with_prefix(message: Any) -> None:
        nonlocal start, rewritten
        if message["type"] == "http.response.start":
            message["headers"] = [(name, _location(name, value, prefix)) for name, value in message["headers"]]
            kind = next((value for name, value in message["headers"] if name.lower() == b"content-type"), b"")
            rewritten = kind.startswith((_PAGE, _STREAM))
            if kind.startswith(_PAGE):
                # The headers are held back until the length of the changed body is known.
                start = message
                return
        elif message["type"] == "http.response.body" and rewritten:
            message["body"] = address.sub(replacement, message.get("body", b""))
            if start is not None:
                length = str(len(message["body"])).encode()
                start["headers"] = [
                    (name, length if name.lower() == b"content-length" else value) for name, value in start["headers"]
                ]
                held: Any = start
                start = None
                await send(held)
        await send(message)

    return send_with_prefix


@lru_cache(maxsize=16)
def _addresses(prefix: str) -> tuple[re.Pattern[bytes], bytes]:
    r"""A pattern for attributes with an address that has no prefix yet, and the replacement for the matched part.

    Text is not mistaken for an attribute: its quotes are escaped. In JSON, quotes of attributes are written ``\"``. The
    attribute ``value`` is left out, because it contains what the user entered.
    """
    quoted = re.escape(prefix.encode())
    attribute = rb'\s(?:href|src|action|hx-[a-z:-]+|sse-[a-z]+|data-[a-z]+)=\\?"'
    pattern = rb"(" + attribute + rb")(?!" + quoted + rb"/)(?=/(?!/))"
    return re.compile(pattern), rb"\g<1>" + prefix.encode()


def _location(name: bytes, value: bytes, prefix: str) -> bytes:
    is_own = name.lower() == b"location" and value.startswith(b"/ui")
    return prefix.encode() + value if is_own else value
