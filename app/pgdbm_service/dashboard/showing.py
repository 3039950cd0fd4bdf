"""The answers of the dashboard's handlers: a page, a confirmation, an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.exceptions import HTTPException
from litestar.response import Redirect

from ..auth.cookies import SESSION
from ..database.failures import log_failure, service_error_of
from ..errors import ServiceError, to_document
from ..web.request import HTTPRequest, principal_of
from .next_page import is_navigation, sign_in_address
from .rendering import page
from .viewer import viewer_of

if TYPE_CHECKING:
    from litestar import Response

    from ..auth.cookies import Cookies


def show(request: HTTPRequest, template: str, here: str, status_code: int = 200, **context: object) -> Response[str]:
    """A page. ``here`` is the entry of the navigation that it belongs to."""
    return page(template, _frame(request, here) | context, status_code)


def confirm(request: HTTPRequest, here: str = "", **context: object) -> Response[str]:
    """A page that asks for confirmation before something is changed."""
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
    """The page of an error; without a session, the page to sign in.

    A script that sent a form shows the error on the page that has the form.
    """
    if isinstance(error, HTTPException):
        problem = ServiceError("invalid_request", error.detail)
    else:
        problem = service_error_of(error)
        log_failure(problem, error)
    request.scope["state"]["problem_code"] = problem.code
    if problem.code == "unauthenticated" and request.method == "GET" and is_navigation(request):
        cookies: Cookies = request.app.state["cookies"]
        ended = cookies.clear(request.scope, SESSION)
        return Redirect(sign_in_address(request), status_code=303, cookies=[ended])
    context = {
        "viewer": viewer_of(request, principal_of(request)),
        "here": "",
        "notice": None,
        "problem": to_document(problem),
        "back": _back_of(request),
        "sign_in": sign_in_address(request),
    }
    shown = page("error.html", context, problem.kind.status)
    if problem.code == "unauthenticated":
        shown.headers["WWW-Authenticate"] = 'Bearer realm="pgdbm"'
        # For a part of a page that a script fetches: the script loads the whole page again, which leads to the sign-in.
        shown.headers["HX-Refresh"] = "true"
    if problem.retry_after_s is not None:
        shown.headers["Retry-After"] = str(problem.retry_after_s)
    return shown


def _back_of(request: HTTPRequest) -> tuple[str, str]:
    """The page that an action was about: its address and its name."""
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
        case _:
            return "/ui", "all modules"
