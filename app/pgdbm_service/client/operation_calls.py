"""The calls of those who operate the service: schemas, activity, tokens, audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..activity.structs import BlockingTree, LongRunningList, LongRunningQuery, PoolState, Session
from ..audit.structs import AuditEntry, AuditPage
from ..schemas.structs import SchemaDetail, SchemaList, SchemaSummary
from ..structs import NewToken, Token
from ..tokens.structs import TokenBody, TokenList
from .call import Call, Listing
from .endpoints import call, listing

if TYPE_CHECKING:
    from collections.abc import Sequence


class OperationCalls:
    """What both clients can do besides modules and runs."""

    @listing
    def list_schemas(self, *, system: bool | None = None, limit: int | None = None) -> Listing[SchemaSummary]:
        """The schemas of the database, with their size and the modules in them; with ``system``, PostgreSQL's too."""
        return Listing(path="/schemas", query={"system": system}, page=SchemaList, limit=limit)

    @call
    def get_schema(self, schema: str) -> Call[SchemaDetail]:
        """The tables of one schema: sizes, indexes, dead rows."""
        return Call(method="GET", path="/schemas/{schema}", parts={"schema": schema}, answer=SchemaDetail)

    @listing
    def list_blocking(self) -> Listing[Session]:
        """Who waits for whose lock in the database, as trees below those that wait for nobody."""
        return Listing(path="/activity/blocking", page=BlockingTree, page_size=None)

    @listing
    def list_long_running(self, *, threshold_s: float | None = None) -> Listing[LongRunningQuery]:
        """Queries, and transactions that are idle, which began ``threshold_s`` (300) or more ago; longest first."""
        query = {"threshold_s": threshold_s}
        return Listing(path="/activity/long-running", query=query, page=LongRunningList, page_size=None)

    @call
    def get_pool(self) -> Call[PoolState]:
        """The connections of the instance that answers, and who has a turn at migrating."""
        return Call(method="GET", path="/activity/pool", answer=PoolState)

    @call
    def create_token(self, name: str, scopes: Sequence[str], *, expires: str = "90d") -> Call[NewToken]:
        """Make a token. It is in this answer and nowhere else: the service keeps its SHA-256."""
        body = TokenBody(name=name, scopes=list(scopes), expires=expires)
        return Call(method="POST", path="/tokens", body=body, answer=NewToken)

    @listing
    def list_tokens(self, *, limit: int | None = None) -> Listing[Token]:
        """Every token, newest first, the revoked ones too; never the token itself."""
        return Listing(path="/tokens", page=TokenList, limit=limit)

    @call
    def revoke_token(self, token_id: str) -> Call[Token]:
        """Revoke a token: every instance refuses it within three seconds."""
        path = "/tokens/{token_id}"
        # One that is revoked already stays as it is.
        return Call(method="DELETE", path=path, parts={"token_id": token_id}, answer=Token, is_repeatable=True)

    @listing
    def get_audit(
        self, *, caller: str | None = None, module: str | None = None, limit: int | None = None
    ) -> Listing[AuditEntry]:
        """Every request that would have changed something, also the refused ones, newest first."""
        return Listing(path="/audit", query={"caller": caller, "module": module}, page=AuditPage, limit=limit)
