"""The OpenAPI document and its page, and Litestar's plugin for problem details."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.params import Parameter
from litestar.static_files import create_static_files_router

from pgdbm.version import __version__

from .examples import with_examples
from .problems import problem_details_plugin
from .request import public_path

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler
    from litestar.plugins import PluginProtocol

    from .request import HTTPRequest


Ticketed = Annotated[
    str | None, Parameter(description="A ticket of `POST /events/ticket`, for clients that cannot send a token.")
]

_TEXT = Schema(type=OpenAPIType.STRING)
_TEXTS = Schema(type=OpenAPIType.ARRAY, items=_TEXT)
_OUT_OF_ORDER = Schema(type=OpenAPIType.STRING, enum=["allow", "reject"])
_SETTINGS: dict[str, Reference | Schema] = {
    "schema": _TEXT,
    "schemas": Schema(one_of=[_TEXTS, _TEXT], description="Names, or a pattern such as tenant_*"),
    "depends_on": Schema(type=OpenAPIType.ARRAY, items=_TEXT, description="As module or module@version"),
    "description": _TEXT,
    "out_of_order": _OUT_OF_ORDER,
    "role": _TEXT,
}
_MIGRATION = Schema(
    type=OpenAPIType.OBJECT,
    properties={
        "filename": Schema(type=OpenAPIType.STRING, min_length=1, max_length=255),
        "content": _TEXT,
    },
    required=["filename", "content"],
)
_JSON = Schema(
    type=OpenAPIType.OBJECT,
    properties={**_SETTINGS, "migrations": Schema(type=OpenAPIType.ARRAY, items=_MIGRATION)},
    required=["migrations"],
)
_FILE = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
_EVENTS = Schema(
    type=OpenAPIType.STRING,
    description="For `Accept: text/event-stream`: the events of the run, then the event `result` with the answer as "
    "JSON, or `problem` with the error. The status is 200 in both cases.",
)
_FORM = Schema(
    type=OpenAPIType.OBJECT,
    properties={**_SETTINGS, "files": Schema(type=OpenAPIType.ARRAY, items=_FILE)},
    required=["files"],
)


@dataclass
class RegistrationOperation(Operation):
    """The ``operation_class`` of PUT /modules/{module}."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            required=True,
            content={
                "application/json": OpenAPIMediaType(schema=_JSON),
                "multipart/form-data": OpenAPIMediaType(schema=_FORM),
                "application/gzip": OpenAPIMediaType(schema=_FILE),
            },
        )


@dataclass
class OptionalBodyOperation(Operation):
    """The ``operation_class`` of a handler whose ``data`` may be None."""

    def __post_init__(self) -> None:
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = False


@dataclass
class MigrateOperation(OptionalBodyOperation):
    """The ``operation_class`` of a call that can answer with the events of a run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse):
            answer.content = {**(answer.content or {}), "text/event-stream": OpenAPIMediaType(schema=_EVENTS)}


_SWAGGER_UI = "/static/swagger-ui"
_STATIC = Path(__file__).parent.parent / "static"
_SCRIPT = """
SwaggerUIBundle({
  url: document.getElementById("swagger-ui").dataset.url,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""
# Swagger UI sets styles and shows images from its own files.
_PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    f"script-src 'self' 'sha256-{b64encode(sha256(_SCRIPT.encode()).digest()).decode()}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


class SwaggerPage(OpenAPIRenderPlugin):
    """Swagger UI from the package's own files, so that the page works without a network."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: HTTPRequest, openapi_schema: dict[str, Any]) -> bytes:
        files = public_path(request, _SWAGGER_UI)
        return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{openapi_schema["info"]["title"]}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{files}/swagger-ui.css">
<style>body {{ margin: 0 }}</style>
</head>
<body>
<div id="swagger-ui" data-url="{public_path(request, "/docs/openapi.json")}"></div>
<script src="{files}/swagger-ui-bundle.js"></script>
<script>{_SCRIPT}</script>
</body>
</html>
""".encode()


class Document(JsonRenderPlugin):
    """The OpenAPI document, with the prefix of a reverse proxy as its server."""

    def render(self, request: HTTPRequest, openapi_schema: dict[str, Any]) -> bytes:
        return super().render(
            request, with_examples(openapi_schema) | {"servers": [{"url": public_path(request, "") or "/"}]}
        )


async def _report_missing_page(response: Response[Any]) -> Response[Any]:
    # Litestar would answer with its own page.
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise NotFoundException
    return response


def plugins() -> list[PluginProtocol]:
    return [problem_details_plugin()]


def openapi(*, secured: bool) -> OpenAPIConfig:
    """The configuration of the OpenAPI document. ``secured``: the API requires a bearer token."""
    return OpenAPIConfig(
        title="pgdbm",
        version=__version__,
        description="PostgreSQL schema migrations as a service. Errors are `application/problem+json` with a "
        "`code`; `/errors/{code}` explains each.",
        path="/docs",
        openapi_router=Router(
            "/docs",
            route_handlers=[],
            include_in_schema=False,
            opt={"needs": None},
            response_headers={"Content-Security-Policy": _PAGE_POLICY},
            after_request=_report_missing_page,
        ),
        components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"bearer": []}] if secured else None,
        render_plugins=[SwaggerPage(), Document(path="/openapi.json")],
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


def _operation_id(handler: HTTPRouteHandler, _: object, __: object) -> str:
    """The function's name, which generated clients use for the method."""
    return handler.handler_name
