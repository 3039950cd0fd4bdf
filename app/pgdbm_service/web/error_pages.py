"""What the service is, as JSON and as a page, and the page of each error code."""

from __future__ import annotations

from typing import Annotated

from litestar import MediaType, Response, get
from litestar.params import Parameter
from litestar.response import Redirect

from pgdbm.version import __version__

from ..api.common import ErrorKindItem, ErrorKindList, ServiceInfo
from ..errors import ServiceError, did_you_mean
from ..errors.codes import ERROR_KINDS
from .headers import header_of
from .problems import error_responses
from .request import HTTPRequest, public_path

_LINKS = {
    "dashboard": "/ui",
    "docs": "/docs",
    "openapi": "/docs/openapi.json",
    "overview": "/overview",
    "modules": "/modules",
    "runs": "/runs",
    "events": "/events",
    "schemas": "/schemas",
    "activity": "/activity/pool",
    "freeze": "/freeze",
    "webhooks": "/webhooks",
    "replicas": "/replicas",
    "audit": "/audit",
    "tokens": "/tokens",
    "ready": "/health/ready",
    "metrics": "/metrics",
}


@get(
    "/",
    tags=["overview"],
    sync_to_thread=False,
    opt={"needs": None},
    responses=error_responses(open_to_all=True),
)
def get_service(request: HTTPRequest) -> Response[ServiceInfo]:
    """The name and version of the service, and the paths of its resources. A browser is redirected to the dashboard."""
    headers = {"Vary": "Accept"}
    if "text/html" in (header_of(request.scope, b"accept") or ""):
        return Redirect(public_path(request, "/ui"), headers=headers)
    links = {name: public_path(request, path) for name, path in _LINKS.items()}
    return Response(ServiceInfo(name="pgdbm", version=__version__, links=links), headers=headers)


@get("/errors", tags=["errors"], sync_to_thread=False, opt={"needs": None}, responses=error_responses(open_to_all=True))
def list_errors(request: HTTPRequest) -> ErrorKindList:
    """Every error code with its HTTP status, and the address of its page."""
    return ErrorKindList(
        [
            ErrorKindItem(
                code=kind.code,
                http_status=kind.status,
                title=kind.title,
                type=public_path(request, kind.type),
                retry_after=kind.retry_after_s,
            )
            for kind in ERROR_KINDS.values()
        ]
    )


@get(
    "/errors/{code:str}",
    media_type=MediaType.TEXT,
    tags=["errors"],
    sync_to_thread=False,
    opt={"needs": None},
    responses=error_responses("not_found", open_to_all=True),
)
def error_page(code: Annotated[str, Parameter(description="The `code` of a problem.")]) -> str:
    """What an error code means and what to do, as Markdown. The `type` of every problem is this address."""
    kind = ERROR_KINDS.get(code)
    if kind is None:
        raise ServiceError("not_found", f"There is no error code {code!r}.", hint=did_you_mean(code, ERROR_KINDS))
    return kind.page()
