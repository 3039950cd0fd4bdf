"""The page of tokens: it lists, creates and revokes them. A new one is shown once."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from litestar import Controller, Response, get, post
from litestar.response import Redirect

from pgdbm.text import sentence

from ..api.common import TokenState
from ..api.scopes import check_scopes
from ..auth.tokens import TokenError, create_token, find_token, list_tokens, revoke_token
from ..auth.verifier import TokenVerifier
from ..database.pool import Database
from ..database.service_schema import SERVICE_SCHEMA
from ..errors import ServiceError
from ..web.pagination import Cursor, cursor_of, read_number
from ..web.query_parameters import InState, read_several
from ..web.request import HTTPRequest, principal_of, public_path
from .forms import Form
from .showing import confirm, show, show_error, show_form

if TYPE_CHECKING:
    from ..auth.sessions import Session

_PAGE = 50
_EMPTY = {"name": "", "read": "", "admin": "", "migrate": "", "register": "", "approve": "", "expires": "90d"}
_EXPIRIES = ("12h", "7d", "30d", "90d", "365d", "never")


class TokenPages(Controller):
    path = "/ui/tokens"
    include_in_schema = False
    exception_handlers = {Exception: show_error}  # noqa: RUF012 - Litestar reads it once
    opt = {"needs": "admin", "cookie": "page"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get()
    async def show_tokens(
        self, request: HTTPRequest, database: Database, q: str = "", in_state: InState = "", cursor: Cursor = None
    ) -> Response[str]:
        db = database.manager(SERVICE_SCHEMA)
        states = read_several([in_state] if in_state else None, "state", TokenState)
        items, following = await database.with_timeout(list_tokens(db, _PAGE, read_number(cursor), q, states))
        return show(
            request,
            "tokens.html",
            "Tokens",
            tokens=items,
            following=None if following is None else cursor_of(following),
            own=_own_token(request),
            filters={"q": q, "state": in_state},
            states=get_args(TokenState),
        )

    @get("/new", sync_to_thread=False)
    def show_form(self, request: HTTPRequest) -> Response[str]:
        return _form(request, {"read": "on", "expires": "90d"})

    @post()
    async def create(self, request: HTTPRequest, database: Database, data: Form) -> Response[str]:
        """Create a token and show it in this response: with a redirect it would have to be stored somewhere."""
        try:
            scopes = check_scopes(_scopes(data))
        except ValueError as error:
            return _form(request, data, "scopes", sentence(str(error)))
        creation = create_token(
            database.manager(SERVICE_SCHEMA),
            data.get("name", "").strip(),
            scopes,
            data.get("expires", ""),
            principal_of(request).name,
        )
        try:
            token = await database.with_timeout(creation)
        except TokenError as error:
            return _form(request, data, error.field, sentence(error.message))
        except ServiceError as error:
            if error.code != "token_exists":
                raise
            return _form(request, data, "name", f"{error.detail} Choose another name, or revoke that one.")
        return show(request, "token_created.html", "Tokens", 201, token=token)

    @get("/{token_id:str}/revoke")
    async def confirm_revoke(self, request: HTTPRequest, database: Database, token_id: str) -> Response[str]:
        token = await database.with_timeout(find_token(database.manager(SERVICE_SCHEMA), token_id))
        texts = [
            f"Its scopes: {', '.join(token.scopes)}.",
            "Every replica refuses it within three seconds. Programs that use it will fail, and people who signed in "
            "with it will be signed out. This cannot be undone.",
        ]
        if token.id == _own_token(request):
            texts.append("You are signed in with this token: you will be signed out.")
        return confirm(
            request,
            here="Tokens",
            title=f"Revoke the token {token.name}?",
            texts=texts,
            rows=[],
            action=f"/ui/tokens/{token.id}/revoke",
            back="/ui/tokens",
            back_word="Tokens",
            verb="Revoke the token",
            tone="danger",
            fields={},
        )

    @post("/{token_id:str}/revoke")
    async def revoke(
        self, request: HTTPRequest, database: Database, verifier: TokenVerifier, token_id: str
    ) -> Redirect:
        revoking = revoke_token(database.manager(SERVICE_SCHEMA), token_id, principal_of(request).name)
        try:
            await database.with_timeout(revoking)
        finally:
            # Even after a timeout: the token may have been revoked.
            verifier.invalidate(token_id)
        return Redirect(public_path(request, "/ui/tokens"), status_code=303)


def _scopes(data: Form) -> list[str]:
    """The scopes that the form describes; patterns of modules are separated by commas or spaces."""
    scopes = [name for name in ("read", "admin") if data.get(name)]
    for kind in ("register", "migrate", "approve"):
        scopes += [f"{kind}:{glob}" for glob in data.get(kind, "").replace(",", " ").split()]
    return scopes


def _form(request: HTTPRequest, values: Form, field: str | None = None, message: str = "") -> Response[str]:
    """The form for a new token, with what was entered; ``message`` is about ``field``."""
    return show_form(
        request,
        "token_new.html",
        "Tokens",
        values=_EMPTY | values,
        field=field,
        message=message,
        expiries=_EXPIRIES,
    )


def _own_token(request: HTTPRequest) -> str | None:
    """The id of the token that the principal signed in with."""
    session: Session | None = request.scope["state"].get("session")
    return None if session is None else session.token_id
