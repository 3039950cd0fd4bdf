"""HEAD and OPTIONS for every path: handlers declare GET and the methods that change something."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from litestar.routes import HTTPRoute

from .conditional import with_validator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from litestar import Litestar
    from litestar.types import Message, Receive, Scope, Send


def allow_header(methods: Iterable[str]) -> str:
    """The value of an Allow header for handlers of ``methods``: GET includes HEAD, and every path has OPTIONS."""
    allowed = {*methods, "OPTIONS"}
    return ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))


class AllowedMethods:
    """The methods of each path. Litestar's own answer to OPTIONS lists only the methods of one of the path's
    controllers."""

    def __init__(self) -> None:
        self._methods: dict[str, set[str]] = defaultdict(set)

    def read(self, app: Litestar) -> None:
        """Read the routes that are registered in ``app``."""
        for route in app.routes:
            if isinstance(route, HTTPRoute):
                self._methods[route.path_format] |= route.methods

    async def answer(self, path_template: str, send: Send) -> None:
        """Answer OPTIONS for a path."""
        allow = allow_header(self._methods[path_template]).encode()
        await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allow)]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def answer_head(
    app: Callable[[Scope, Receive, Send], Awaitable[None]], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer HEAD with the headers of the answer to GET, whose ETag requires the body. The server's own scope
    remains that of a HEAD request."""
    as_get: Any = {**scope, "method": "GET"}

    async def send_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            # Sent now, because a stream has no body before its first event. Afterwards ``receive`` reports a
            # disconnect.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    try:
        await app(as_get, receive, with_validator(send_headers, as_get))
    finally:
        # The route and the principal, for the log.
        scope.update(as_get | {"method": "HEAD"})
