"""POST and GET /tokens, DELETE /tokens/{id}."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Request, delete, get, post
from litestar.params import Parameter

from ..auth import caller_of
from ..auth.tokens import TokenError, create_token, list_tokens, revoke_token
from ..auth.verifier import TokenVerifier
from ..cursors import cursor_of, read_number
from ..database import Database
from ..errors import documented, invalid_request
from ..own_schema import OWN_SCHEMA
from ..structs import NewToken, Token
from .structs import TokenBody, TokenList


class TokenController(Controller):
    path = "/tokens"
    tags = ("tokens",)
    opt = {"needs": "admin"}  # noqa: RUF012 - Litestar merges it into each handler's

    @post(responses=documented("cross_origin", "token_exists", "body_too_large", "database_error"))
    async def create_token(self, request: Request[Any, Any, Any], database: Database, data: TokenBody) -> NewToken:
        """Make a token. It is in this answer and nowhere else: the service keeps its SHA-256."""
        db = database.manager(OWN_SCHEMA)
        making = create_token(db, data.name, data.scopes, data.expires, caller_of(request).name)
        try:
            return await database.within_limit(making)
        except TokenError as error:
            raise invalid_request([{"field": error.field, "message": error.message}]) from None

    @get(responses=documented())
    async def list_tokens(
        self,
        database: Database,
        limit: Annotated[int, Parameter(ge=1, le=200, description="How many items a page has.")] = 50,
        cursor: Annotated[str | None, Parameter(query="next", description="The `next` of the page before.")] = None,
    ) -> TokenList:
        """Every token, newest first, the revoked ones too; never the token itself."""
        db = database.manager(OWN_SCHEMA)
        items, following = await database.within_limit(list_tokens(db, limit, read_number(cursor)))
        return TokenList(items, None if following is None else cursor_of(following))

    @delete("/{token_id:str}", status_code=200, responses=documented("cross_origin", "token_unknown"))
    async def revoke_token(
        self, request: Request[Any, Any, Any], database: Database, verifier: TokenVerifier, token_id: str
    ) -> Token:
        """Revoke a token: this instance refuses it from now on, others within three seconds."""
        revoking = revoke_token(database.manager(OWN_SCHEMA), token_id, caller_of(request).name)
        try:
            return await database.within_limit(revoking)
        finally:
            # Also where the answer did not come: it may have been done.
            verifier.forget(token_id)
