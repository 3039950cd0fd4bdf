"""The query parameters that each handler takes are those of the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from pgdbm_service.asgi import create_app
from pgdbm_service.settings import Settings
from pgdbm_service.web.query_parameters import QueryParameters

if TYPE_CHECKING:
    from pathlib import Path


def test_query_parameters_of_every_handler_are_documented(tmp_path: Path) -> None:
    app = create_app(Settings(database_url="postgresql://localhost/none", migrations_repo=tmp_path))
    paths: dict[str, Any] = app.openapi_schema.to_schema()["paths"]
    taken = QueryParameters(app.dependencies)
    compared = 0
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if not isinstance(handler, HTTPRouteHandler) or route.path_format not in paths:
                continue
            for method in handler.http_methods & {"GET", "POST", "PUT", "DELETE"}:
                documented = paths[route.path_format][method.lower()].get("parameters", [])
                queried = {one["name"] for one in documented if one["in"] == "query"}
                assert taken.of(handler.fn).keys() - set(route.path_parameters) == queried, handler
                compared += 1
    assert compared > 30
