"""Signing in with a token or at an identity provider, and signing out."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Controller, Response, get, post
from litestar.exceptions import HTTPException
from litestar.params import Parameter
from litestar.response import Redirect

from ..auth.cookies import SESSION, SIGN_IN, Cookies
from ..auth.sessions import Sessions
from ..auth.sign_in import SignIns
from ..database.failures import service_error_of
from ..errors import ServiceError
from ..web.request import HTTPRequest, Principal, principal_of, public_path
from .forms import Form
from .next_page import HOME, safe_next
from .next_page import SIGN_IN as SIGN_IN_PAGE
from .showing import confirm, show, show_error
from .viewer import viewer_of
from .wording import count

if TYPE_CHECKING:
    from litestar.datastructures import Cookie

    from ..auth.sessions import Session

Next = Annotated[str, Parameter(query="next")]

_ATTEMPT_S = 600.0


def show_sign_in_error(request: HTTPRequest, error: Exception) -> Response[str]:
    """The sign-in page, with the error."""
    problem = (
        ServiceError("invalid_request", error.detail) if isinstance(error, HTTPException) else service_error_of(error)
    )
    request.scope["state"]["problem_code"] = problem.code
    shown = _sign_in_page(request, safe_next(request.scope["state"].get("next")), problem)
    if problem.retry_after_s is not None:
        shown.headers["Retry-After"] = str(problem.retry_after_s)
    return shown


class SignInController(Controller):
    path = "/ui/sign-in"
    include_in_schema = False
    exception_handlers = {Exception: show_sign_in_error}  # noqa: RUF012 - Litestar reads it once
    opt = {"needs": None, "cookie": "page"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(sync_to_thread=False)
    def show_sign_in(self, request: HTTPRequest, sign_ins: SignIns, wanted: Next = "") -> Response[Any]:
        if not sign_ins.is_needed:
            return _see(request, HOME)
        return _sign_in_page(request, safe_next(wanted), None)

    @post()
    async def sign_in(
        self, request: HTTPRequest, sign_ins: SignIns, sessions: Sessions, jar: Cookies, data: Form
    ) -> Redirect:
        """Sign in with a token. It is only in the body: addresses are logged, and kept in the browser's history."""
        request.scope["state"]["next"] = wanted = safe_next(data.get("next"))
        token = data.get("token", "").strip()
        if not sign_ins.is_needed:
            return _see(request, HOME)
        if not token:
            raise ServiceError("unauthenticated", "Paste a token.")
        signed_in = await sign_ins.with_token(token, _address(request))
        return await _signed_in(request, sessions, jar, signed_in, wanted)

    @get("/{provider:str}/start")
    async def start(
        self, request: HTTPRequest, sign_ins: SignIns, jar: Cookies, provider: str, wanted: Next = ""
    ) -> Redirect:
        """Redirect the browser to an identity provider.

        It is a link and not a form: the page's Content-Security-Policy blocks redirects of forms.
        """
        wanted = safe_next(wanted)
        request.scope["state"]["next"] = wanted
        address, secret = await sign_ins.begin(provider, _prefix(request))
        cookie = jar.make(request.scope, SIGN_IN, f"{provider}.{secret}.{_packed(wanted)}", _ATTEMPT_S)
        return Redirect(address, status_code=303, cookies=[cookie])

    @get("/{provider:str}/callback", opt={"any_query": True})
    async def finish(
        self, request: HTTPRequest, sign_ins: SignIns, sessions: Sessions, jar: Cookies, provider: str
    ) -> Redirect:
        """The redirect URI of an identity provider."""
        request.scope["state"]["is_change"] = True
        attempt = (jar.read(request.scope, SIGN_IN) or "").split(".")
        if len(attempt) != 3 or attempt[0] != provider:
            raise ServiceError(
                "unauthenticated", "This browser did not start to sign in, or did so too long ago. Sign in again."
            )
        wanted = safe_next(_unpacked(attempt[2]))
        request.scope["state"]["next"] = wanted
        answer = dict(request.query_params.items())
        signed_in = await sign_ins.finish(provider, attempt[1], answer, _prefix(request), _address(request))
        used = jar.clear(request.scope, SIGN_IN)
        return await _signed_in(request, sessions, jar, signed_in, wanted, used)


class AccountController(Controller):
    """Who is signed in, and where."""

    path = "/ui"
    include_in_schema = False
    exception_handlers = {Exception: show_error}  # noqa: RUF012 - Litestar reads it once
    opt = {"needs": "signed_in", "cookie": "page"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get("/account")
    async def show_account(self, request: HTTPRequest, sign_ins: SignIns, sessions: Sessions) -> Response[Any]:
        if not sign_ins.is_needed:
            return _see(request, HOME)
        found = await sessions.of(principal_of(request))
        return show(request, "account.html", "", sessions=found, own=_session(request))

    @post("/sign-out", status_code=200)
    async def sign_out(
        self, request: HTTPRequest, sign_ins: SignIns, sessions: Sessions, jar: Cookies
    ) -> Response[Any]:
        """End the session here, then at the identity provider that it came from, if that is possible."""
        own = _session(request)
        if own is not None:
            await sessions.end(own.id)
        return await _signed_out(request, sign_ins, jar, "Your session here has ended.")

    @post("/sign-out/everywhere", status_code=200)
    async def sign_out_everywhere(
        self, request: HTTPRequest, sign_ins: SignIns, sessions: Sessions, jar: Cookies
    ) -> Response[Any]:
        """End every session here, then that of this browser at the identity provider, if that is possible."""
        await sessions.end_all(principal_of(request))
        return await _signed_out(request, sign_ins, jar, "All your sessions here have ended.")

    @get("/sign-out/everywhere")
    async def confirm_sign_out_everywhere(
        self, request: HTTPRequest, sign_ins: SignIns, sessions: Sessions
    ) -> Response[str]:
        found = await sessions.of(principal_of(request))
        own = _session(request)
        if own is None or own.issuer is None:
            rest = "A token stays valid: anyone who has it can sign in again. Revoke it if it was lost."
        elif await sign_ins.sign_out_address(own.issuer, _prefix(request)) is not None:
            rest = (
                f"You are then also signed out at {own.issuer} in this browser. Your other browsers stay signed in "
                "there, because only the browser itself can end its session: they may sign in here again without "
                "a password. If a device was lost, end its session there."
            )
        else:
            rest = (
                f"{own.issuer} does not support signing out: your browsers may sign in here again without a "
                "password. If a device was lost, end its session there."
            )
        return confirm(
            request,
            title="Sign out everywhere?",
            texts=[
                f"{count(len(found), 'session')} of {principal_of(request).name} will end, this one included.",
                "Open pages stop within three seconds.",
                rest,
            ],
            rows=[],
            action="/ui/sign-out/everywhere",
            back="/ui/account",
            back_word="account",
            verb="Sign out everywhere",
            tone="danger",
            fields={},
            # The answer may be a page that leads to the identity provider.
            stays=False,
        )


async def _signed_out(request: HTTPRequest, sign_ins: SignIns, jar: Cookies, ended: str) -> Response[Any]:
    """Where to go once the session has ended here: to the identity provider that it came from, if one can sign out
    there, else to the sign-in page.
    """
    own = _session(request)
    address = None if own is None else await sign_ins.sign_out_address(own.issuer, _prefix(request))
    if address is None:
        return _see(request, SIGN_IN_PAGE, jar.clear(request.scope, SESSION))
    # A page that leads there: the Content-Security-Policy blocks redirecting a form to another site.
    viewer = replace(viewer_of(request, principal_of(request)), signed_in=False)
    shown = show(request, "signed_out.html", "", viewer=viewer, address=address, ended=ended)
    shown.cookies.append(jar.clear(request.scope, SESSION))
    return shown


async def _signed_in(
    request: HTTPRequest,
    sessions: Sessions,
    jar: Cookies,
    signed_in: tuple[Principal, str],
    wanted: str,
    *more: Cookie,
) -> Redirect:
    """Replace this browser's session, if there is one, and return to the requested page."""
    principal, cookie = signed_in
    previous = jar.read(request.scope, SESSION)
    if previous is not None:
        found = await sessions.find(previous, is_use=False)
        if found is not None:
            await sessions.end(found.id)
    # For the audit and the log.
    request.scope["user"], request.scope["auth"] = principal, "session"
    return _see(request, wanted, jar.make(request.scope, SESSION, cookie, sessions.lifetime_s), *more)


def _sign_in_page(request: HTTPRequest, wanted: str, problem: ServiceError | None) -> Response[str]:
    sign_ins: SignIns = request.app.state["sign_ins"]
    return show(
        request,
        "sign_in.html",
        "",
        200 if problem is None else problem.kind.status,
        wanted=wanted,
        problem=problem,
        providers=sign_ins.providers,
    )


def _session(request: HTTPRequest) -> Session | None:
    found: Session | None = request.scope["state"].get("session")
    return found


def _see(request: HTTPRequest, path: str, *cookies: Cookie) -> Redirect:
    return Redirect(public_path(request, path), status_code=303, cookies=list(cookies))


def _prefix(request: HTTPRequest) -> str:
    return public_path(request, "")


def _address(request: HTTPRequest) -> str:
    address: str = request.scope["state"]["address"]
    return address


def _packed(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpacked(text: str) -> str | None:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
