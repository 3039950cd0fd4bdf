"""The page that a browser returns to after signing in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from ..web.headers import header_of
from ..web.request import public_path

if TYPE_CHECKING:
    from ..web.request import HTTPRequest

HOME = "/ui"
SIGN_IN = "/ui/sign-in"

# A path of the dashboard and a query: no other host, and no character that browsers drop or replace.
_SAFE = re.compile(r"/ui(?:[/?][A-Za-z0-9/?&=%+.,:;@!$'()*_~-]*)?\Z")
_MAX_LENGTH = 2000
_NOT_PAGES = ("/ui/sign-", "/ui/live", "/ui/assets/")


def safe_next(wanted: str | None) -> str:
    """``wanted`` if it is the address of a dashboard page, else the address of the overview."""
    if wanted is None or len(wanted) > _MAX_LENGTH or not _SAFE.match(wanted):
        return HOME
    path = wanted.partition("?")[0]
    if ".." in unquote(unquote(path)) or "//" in path or path.startswith(_NOT_PAGES) or path.endswith("/live"):
        return HOME
    return wanted


def sign_in_address(request: HTTPRequest) -> str:
    """The address of the sign-in page, which returns to the page of ``request``."""
    if request.method == "GET":
        query = request.scope["query_string"].decode("latin-1")
        wanted = safe_next(quote(request.scope["path"]) + (f"?{query}" if query else ""))
    else:
        wanted = safe_next(_form_of(request))
    address = public_path(request, SIGN_IN)
    return address if wanted == HOME else f"{address}?next={quote(wanted, safe='')}"


def _form_of(request: HTTPRequest) -> str:
    """The address of the page whose form was sent. A forged address can only lead to another page of the dashboard."""
    referer = urlsplit(header_of(request.scope, b"referer") or "")
    path = referer.path.removeprefix(public_path(request, ""))
    return f"{path}?{referer.query}" if referer.query else path


def is_navigation(request: HTTPRequest) -> bool:
    """Whether the browser is opening a page, rather than a script of an open page making a request. Old browsers do not
    send this header."""
    mode = header_of(request.scope, b"sec-fetch-mode")
    return "text/html" in (header_of(request.scope, b"accept") or "") and mode in (None, "navigate")
