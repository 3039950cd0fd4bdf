"""Litestar's error texts have the form that the service parses."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Request, Response, post

from pgdbm_service.web.litestar_errors import is_client_disconnect


async def test_client_disconnect() -> None:
    raised: list[Exception] = []

    @post("/")
    async def read_body(request: Request[Any, Any, Any]) -> None:
        await request.body()

    def keep(_: Request[Any, Any, Any], error: Exception) -> Response[None]:
        raised.append(error)
        return Response(None, status_code=500)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None: ...

    app = Litestar([read_body], exception_handlers={Exception: keep}, openapi_config=None, logging_config=None)
    scope: Any = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
    await app(scope | {"state": {}}, receive, send)
    assert [is_client_disconnect(error) for error in raised] == [True]
