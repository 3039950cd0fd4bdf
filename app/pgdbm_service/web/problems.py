"""Errors as ``application/problem+json`` (RFC 9457): the service's own and Litestar's."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import msgspec
from litestar.exceptions import HTTPException, SerializationException
from litestar.openapi import ResponseSpec
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsException, ProblemDetailsPlugin

from ..api.common import ProblemDocument
from ..api.msgspec_errors import is_nested_too_deeply, path_and_reason, unknown_field
from ..database.failures import log_failure, service_error_of
from ..errors import ServiceError, did_you_mean, invalid_request
from ..errors.codes import ERROR_KINDS
from .http_methods import allow_header
from .legal_values import NO_SUCH_FIELD, explained
from .litestar_errors import is_client_disconnect
from .request import may_read, public_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from litestar import Response

    from .request import HTTPRequest

MEDIA_TYPE = "application/problem+json"
_OF_THE_SERVER = ("sqlstate", "database_message")
_ANY = ("invalid_request", "not_loopback", "host_not_allowed")
# The errors of every call that requires authentication.
_ACCESS = ("unauthenticated", "forbidden", "too_many_attempts", "issuer_unavailable", "database_unavailable")


class HTTPError(ServiceError):
    """A ServiceError whose answer has additional ``headers``."""

    def __init__(self, code: str, detail: str, *, headers: dict[str, str], **fields: Any) -> None:
        super().__init__(code, detail, **fields)
        self.headers = headers


class Problem(ProblemDetailsException):
    """``error`` in the form that Litestar raises and renders."""

    def __init__(self, error: ServiceError) -> None:
        headers = dict(error.headers) if isinstance(error, HTTPError) else {}
        if error.retry_after_s is not None:
            headers["Retry-After"] = str(error.retry_after_s)
        kind = error.kind
        super().__init__(
            detail=error.detail, status_code=kind.status, title=kind.title, type_=kind.type, headers=headers
        )
        self.code = error.code
        self.fields = error.fields

    def to_response(self, request: HTTPRequest) -> Response[dict[str, Any]]:
        path = request.scope.get("raw_path", b"").decode("latin-1") or request.scope["path"]
        self.instance = public_path(request, path)
        self.type_ = public_path(request, ERROR_KINDS[self.code].type)
        request.scope["state"]["problem_code"] = self.code
        if self.code == "invalid_request" and "errors" in self.fields and "route_handler" in request.scope:
            better = invalid_request(explained(self.fields["errors"], request.route_handler.fn))
            self.fields, self.detail = self.fields | better.fields, better.detail
        if self.status_code == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.fields.setdefault("request_id", request.scope["state"].get("request_id"))
        self.extra = self.fields
        if self.code == "database_unavailable" and not may_read(request):
            self.extra = {name: value for name, value in self.fields.items() if name not in _OF_THE_SERVER}
        response = super().to_response(request)
        # The members of RFC 9457 come first, for human readers.
        first = {name: response.content.pop(name) for name in ("type", "title", "status", "detail", "instance")}
        response.content = first | response.content
        return response


def error_responses(*codes: str, open_to_all: bool = False) -> dict[int, ResponseSpec]:
    """The responses for ``codes`` and for the errors of every call, for the OpenAPI description of a handler.

    A handler that is ``open_to_all`` requires no authentication.
    """
    by_status: dict[int, list[str]] = {}
    access = () if open_to_all else _ACCESS
    for code in dict.fromkeys((*_ANY, *access, *codes, "internal_error")):
        by_status.setdefault(ERROR_KINDS[code].status, []).append(code)
    return {
        status: ResponseSpec(
            ProblemDocument,
            generate_examples=False,
            description=", ".join(f"`{code}`: {ERROR_KINDS[code].title}" for code in codes_of_status),
            media_type=cast("Any", MEDIA_TYPE),
        )
        for status, codes_of_status in by_status.items()
    }


def problem_of(error: Exception) -> Problem:
    """The Problem for any exception, Litestar's own included."""
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return Problem(_of_http(error))
    if is_client_disconnect(error):
        # No one reads this answer, and it must not count as a failure of the service.
        return Problem(ServiceError("invalid_request", "The client disconnected before its request was complete."))
    if is_nested_too_deeply(error):
        return Problem(invalid_body(error))
    problem = service_error_of(error)
    log_failure(problem, error)
    return Problem(problem)


def _of_http(error: HTTPException) -> ServiceError:
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return ServiceError("not_found", "There is nothing at this address. /docs lists every path.")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = allow_header((error.headers or {}).get("allow", "").split(", "))
            return HTTPError("method_not_allowed", f"This address supports {allowed}.", headers={"Allow": allowed})
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return ServiceError("body_too_large", "The body exceeds PGDBM_MAX_BODY_BYTES.")
    if isinstance(error.__cause__, SerializationException):
        return invalid_request([{"field": "body", "message": f"not JSON: {error.detail}"}])
    entries = [entry for entry in error.extra or () if isinstance(entry, dict) and "message" in entry]
    if not entries:
        return ServiceError("invalid_request", error.detail)
    return invalid_request([_entry(entry.get("key", "body"), entry["message"]) for entry in entries])


def _entry(field: str, message: str, known: Iterable[str] = ()) -> dict[str, str]:
    """An entry of ``errors``. In Litestar, the body is a parameter called ``data``."""
    unknown = unknown_field(message)
    if unknown is not None:
        return unknown_entry(unknown, known)
    return {"field": "body" if field == "data" else field, "message": message.replace("`", "")}


def unknown_entry(name: str, known: Iterable[str] = ()) -> dict[str, str]:
    """The entry of invalid_request for a field that is not one of ``known``."""
    hint = did_you_mean(name, known)
    return {"field": name, "message": f"{NO_SUCH_FIELD}. {hint}" if hint else NO_SUCH_FIELD}


def invalid_body(error: Exception, known: Iterable[str] = ()) -> ServiceError:
    """A 400 for a body that is not JSON or does not have the call's type; ``known`` are its fields, for a hint."""
    if not isinstance(error, msgspec.ValidationError):
        return invalid_request([{"field": "body", "message": f"not JSON: {error}"}])
    if unknown_field(str(error)) is not None:
        return invalid_request([_entry("data", str(error), known)])
    path, reason = path_and_reason(error)
    return invalid_request([_entry(path or "data", reason)])


# Without an entry for Exception, a 500 would not be a problem document.
_MAPPED: dict[type[Exception], Callable[[Any], Problem]] = dict.fromkeys((HTTPException, Exception), problem_of)


def problem_details_plugin() -> ProblemDetailsPlugin:
    return ProblemDetailsPlugin(ProblemDetailsConfig(exception_to_problem_detail_map=cast("Any", _MAPPED)))
