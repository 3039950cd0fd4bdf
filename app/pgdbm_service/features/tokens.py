"""POST and GET /tokens, DELETE /tokens/{id}."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, post
from litestar.params import Parameter

from ..api.common import NewToken, Token, TokenState
from ..api.tokens import Ticket, TokenBody, TokenList
from ..auth.tickets import create_ticket as new_ticket
from ..auth.tokens import TokenError, count_tokens, create_token, list_tokens, revoke_token
from ..auth.verifier import TokenVerifier
from ..database.pool import Database
from ..database.service_schema import SERVICE_SCHEMA
from ..errors import invalid_request
from ..web.pagination import TOTAL_LIMIT, Cursor, Limit, cursor_of, read_number
from ..web.problems import error_responses
from ..web.query_parameters import read_several, several_of
from ..web.request import HTTPRequest, principal_of


@post(
    "/events/ticket",
    status_code=200,
    tags=["overview"],
    opt={"needs": "read"},
    responses=error_responses("cross_origin", "database_error"),
)
async def create_ticket(request: HTTPRequest, database: Database) -> Ticket:
    """A ticket that opens streams of events for a minute, as `?ticket=`: EventSource cannot send a token.

    A stream that was opened with it continues after that minute; to reconnect, get another ticket.
    """
    return await new_ticket(database, principal_of(request))


class TokenController(Controller):
    path = "/tokens"
    tags = ("tokens",)
    opt = {"needs": "admin"}  # noqa: RUF012 - Litestar merges it into each handler's

    @post(responses=error_responses("cross_origin", "token_exists", "body_too_large", "database_error"))
    async def create_token(self, request: HTTPRequest, database: Database, data: TokenBody) -> NewToken:
        """Create a token. It is in this answer only: the service stores its SHA-256."""
        db = database.manager(SERVICE_SCHEMA)
        creation = create_token(db, data.name, data.scopes, data.expires, principal_of(request).name)
        try:
            return await database.with_timeout(creation)
        except TokenError as error:
            raise invalid_request([{"field": error.field, "message": error.message}]) from None

    @get(responses=error_responses())
    async def list_tokens(
        self,
        database: Database,
        in_state: Annotated[
            list[str] | None, several_of(TokenState, "Only tokens in one of these states.", query="state")
        ] = None,
        q: Annotated[str, Parameter(description="Only tokens whose name contains this text.")] = "",
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> TokenList:
        """All tokens, newest first, including revoked ones, without their secrets."""
        db = database.manager(SERVICE_SCHEMA)
        states = read_several(in_state, "state", TokenState)
        items, following = await database.with_timeout(list_tokens(db, limit, read_number(cursor), q, states))
        counted = await database.with_timeout(count_tokens(db, TOTAL_LIMIT, q, states))
        return TokenList(items, None if following is None else cursor_of(following), *counted)

    @delete("/{token_id:str}", status_code=200, responses=error_responses("cross_origin", "token_unknown"))
    async def revoke_token(
        self, request: HTTPRequest, database: Database, verifier: TokenVerifier, token_id: str
    ) -> Token:
        """Revoke a token: this replica refuses it immediately, others within three seconds."""
        revoking = revoke_token(database.manager(SERVICE_SCHEMA), token_id, principal_of(request).name)
        try:
            return await database.with_timeout(revoking)
        finally:
            # After a timeout too: the token may have been revoked.
            verifier.invalidate(token_id)
