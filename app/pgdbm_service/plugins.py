"""What the service takes from Litestar's plugins: problem details and the OpenAPI pages."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litestar import Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router

from .errors import problem_details_plugin

if TYPE_CHECKING:
    from litestar import Request
    from litestar.handlers import HTTPRouteHandler
    from litestar.plugins import PluginProtocol

_SWAGGER_UI = "/static/swagger-ui"
_STATIC = Path(__file__).parent / "static"
_SCRIPT = """
SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""
# Swagger UI sets styles and shows images that are part of its own files.
_PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    f"script-src 'self' 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class SwaggerPage(OpenAPIRenderPlugin):
    """Swagger UI from our own files: the page loads nothing from elsewhere, so it works without a network."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{openapi_schema["info"]["title"]}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{_SWAGGER_UI}/swagger-ui.css">
<style>body {{ margin: 0 }}</style>
</head>
<body>
<div id="swagger-ui"></div>
<script src="{_SWAGGER_UI}/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</body>
</html>
""".encode()


def plugins() -> list[PluginProtocol]:
    return [problem_details_plugin()]


def our_version() -> str:
    try:
        return version("pgdbm")
    except PackageNotFoundError:
        return "unknown"


def openapi(*, secured: bool) -> OpenAPIConfig:
    """The description of the API; ``secured``, if callers have to show a token."""
    return OpenAPIConfig(
        title="pgdbm",
        version=our_version(),
        description="PostgreSQL schema migrations as a service. Errors are `application/problem+json` with a "
        "`code`; `/errors/{code}` explains each.",
        path="/docs",
        openapi_router=Router(
            "/docs",
            route_handlers=[],
            include_in_schema=False,
            opt={"needs": None},
            response_headers={"Content-Security-Policy": _PAGE_POLICY},
        ),
        components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"bearer": []}] if secured else None,
        render_plugins=[SwaggerPage(), JsonRenderPlugin(path="/openapi.json")],
        operation_id_creator=_operation_id,
        use_handler_docstrings=True,
    )


def static_files() -> Router:
    return create_static_files_router(
        path=_SWAGGER_UI,
        directories=[_STATIC / "swagger-ui"],
        include_in_schema=False,
        name="swagger-ui",
        opt={"needs": None},
    )


def _operation_id(handler: HTTPRouteHandler, _: Any, __: Any) -> str:
    """The function's name: what a generated client calls the method."""
    return handler.handler_name
