"""The answers of the dashboard's handlers: a page, a confirmation, an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from litestar.exceptions import HTTPException
from litestar.response import Redirect

from ..auth.cookies import SESSION
from ..database.failures import log_failure, service_error_of
from ..errors import ServiceError, to_document
from ..web.problems import problem_of
from ..web.request import UNRESTRICTED, HTTPRequest, principal_of, public_path
from .next_page import is_navigation, sign_in_address
from .rendering import page
from .viewer import viewer_of

if TYPE_CHECKING:
    from litestar import Response

    from ..auth.cookies import Cookies
    from ..auth.sign_in import SignIns


def show(request: HTTPRequest, template: str, here: str, status_code: int = 200, **context: object) -> Response[str]:
    """A page. ``here`` is its entry in the navigation."""
    return page(template, _frame(request, here) | context, status_code)


def show_form(
    request: HTTPRequest,
    template: str,
    here: str,
    *,
    values: dict[str, str],
    field: str | None,
    message: str,
    **context: object,
) -> Response[str]:
    """A page with a form and what was entered. ``message`` says what is wrong with ``field``, if anything is."""
    if field is not None:
        request.scope["state"]["problem_code"] = "invalid_request"
    status_code = 200 if field is None else 400
    return show(request, template, here, status_code, values=values, field=field, message=message, **context)


def confirm(request: HTTPRequest, here: str = "", **context: object) -> Response[str]:
    """A page that asks for confirmation before something changes."""
    defaults: dict[str, object] = {
        "fields": {},
        "rows": [],
        "rows_title": "",
        "rehearsal": None,
        "choices": [],
        "changes": [],
        "stays": True,
    }
    return page("confirm.html", _frame(request, here) | defaults | {"asks_rehearsal": None} | context)


def _frame(request: HTTPRequest, here: str) -> dict[str, object]:
    return {"viewer": viewer_of(request, principal_of(request)), "here": here, "notice": None}


def show_error(request: HTTPRequest, error: Exception) -> Response[Any]:
    """The page of an error; without a session, the sign-in page.

    A script that sent a form shows the error on the page that has the form.
    """
    if isinstance(error, HTTPException):
        of_litestar = problem_of(error)
        problem = ServiceError(of_litestar.code, of_litestar.detail)
    else:
        problem = service_error_of(error)
        log_failure(problem, error)
    if problem.code == "unauthenticated" and request.method == "GET" and is_navigation(request):
        request.scope["state"]["problem_code"] = problem.code
        cookies: Cookies = request.app.state["cookies"]
        ended = cookies.clear(request.scope, SESSION)
        return Redirect(sign_in_address(request), status_code=303, cookies=[ended])
    shown = _error_page(request, problem)
    if problem.code == "unauthenticated":
        shown.headers["WWW-Authenticate"] = 'Bearer realm="pgdbm"'
        # For a part of a page that a script fetches: the script reloads the whole page, which leads to the sign-in
        # page.
        shown.headers["HX-Refresh"] = "true"
    if problem.retry_after_s is not None:
        shown.headers["Retry-After"] = str(problem.retry_after_s)
    return shown


def show_unrouted(request: HTTPRequest, error: HTTPException) -> Response[Any]:
    """The answer if no handler has the address or the method: a page, for a browser below ``/ui``.

    Opening the address of a form leads to the page with the form: a browser requests it after showing the result, for
    example.
    """
    problem = problem_of(error)
    path = request.scope["path"]
    is_page = path == "/ui" or path.startswith("/ui/")
    if not is_page or "text/html" not in request.headers.get("accept", ""):
        return problem.to_response(request)
    if problem.code == "method_not_allowed" and request.method == "GET":
        return Redirect(public_path(request, _back_of(request)[0]), status_code=303)
    sign_ins: SignIns = request.app.state["sign_ins"]
    if not sign_ins.is_needed:
        request.scope["user"] = UNRESTRICTED
    detail = f"There is no page {path[:100]}." if problem.code == "not_found" else problem.detail
    shown = _error_page(request, ServiceError(problem.code, detail))
    shown.headers.update(problem.headers or {})
    return shown


def _error_page(request: HTTPRequest, problem: ServiceError) -> Response[str]:
    request.scope["state"]["problem_code"] = problem.code
    may_be_repeated = request.method == "GET" and problem.retry_after_s is not None
    context = {
        "viewer": viewer_of(request, principal_of(request)),
        "here": "",
        "notice": None,
        "problem": to_document(problem),
        "back": _back_of(request),
        "again": _address_of(request) if may_be_repeated else None,
        "sign_in": sign_in_address(request),
    }
    return page("error.html", context, problem.kind.status)


def _address_of(request: HTTPRequest) -> str:
    query = request.scope["query_string"].decode("latin-1")
    return quote(request.scope["path"]) + (f"?{query}" if query else "")


def _back_of(request: HTTPRequest) -> tuple[str, str]:
    """The page that an action concerned: its address and its name."""
    parts = request.url.path.strip("/").split("/")
    if parts[:2] == ["ui", "webhooks"] and len(parts) > 3:
        return f"/ui/webhooks/{parts[2]}", "the webhook"
    match parts[-3:]:
        case ["modules", module, ("migrate" | "rehearse" | "dry-run")]:
            return f"/ui/modules/{module}?tab=plan", f"the plan of {module}"
        case ["modules", module, _]:
            return f"/ui/modules/{module}", module
        case ["runs", run, _]:
            return f"/ui/runs/{run}", f"run {run[:8]}"
        case [_, _, "end"]:
            return "/ui/database", "the database"
        case ["tokens", _, _]:
            return "/ui/tokens", "the tokens"
        case [*_, "sign-out"]:
            return "/ui/account", "the account"
        case _:
            return "/ui", "all modules"
