"""The calls of schemas, activity, tokens and audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..api.activity import (
    Backend,
    BlockingTree,
    LongRunningList,
    LongRunningQuery,
    PoolState,
    TerminateBody,
    TerminatedBackend,
)
from ..api.audit import AuditEntry, AuditPage
from ..api.common import ErrorKindItem, ErrorKindList, NewToken, ServiceInfo, Token, TokenState
from ..api.health import Version
from ..api.overview import Overview, Replica, ReplicaList
from ..api.schemas import SchemaDetail, SchemaList, SchemaSummary
from ..api.tokens import Ticket, TokenBody, TokenList
from .call import Call, Listing
from .endpoints import call, listing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class OperationCalls:
    """The calls that do not concern modules or runs."""

    @listing
    def list_schemas(self, *, system: bool | None = None, limit: int | None = None) -> Listing[SchemaSummary]:
        """The schemas of the database with their sizes and modules; with ``system``, PostgreSQL's own too."""
        return Listing(path="/schemas", query={"system": system}, page=SchemaList, limit=limit)

    @call
    def get_schema(self, schema: str) -> Call[SchemaDetail]:
        """The tables of one schema: sizes, indexes, dead rows."""
        return Call(method="GET", path="/schemas/{schema}", parts={"schema": schema}, answer=SchemaDetail)

    @call
    def version(self) -> Call[Version]:
        """The version of the service, and the revision that its image was built from."""
        return Call(method="GET", path="/version", answer=Version)

    @call
    def get_service(self) -> Call[ServiceInfo]:
        """The name and version of the service, and the paths of its resources."""
        return Call(method="GET", path="/", answer=ServiceInfo)

    @call
    def get_overview(self) -> Call[Overview]:
        """Every module with its state and its newest runs, the runs in progress, and what requires a decision."""
        return Call(method="GET", path="/overview", answer=Overview)

    @listing
    def list_errors(self) -> Listing[ErrorKindItem]:
        """Every error code with its HTTP status, and the address of its page."""
        return Listing(path="/errors", page=ErrorKindList, page_size=None)

    @listing
    def list_replicas(self) -> Listing[Replica]:
        """The processes that serve this database now."""
        return Listing(path="/replicas", page=ReplicaList, page_size=None)

    @listing
    def list_blocking(self) -> Listing[Backend]:
        """Backends that wait for locks, as trees below the backends that block them and do not wait themselves."""
        return Listing(path="/activity/blocking", page=BlockingTree, page_size=None)

    @listing
    def list_long_running(self, *, threshold_s: float | None = None) -> Listing[LongRunningQuery]:
        """Queries and idle transactions of at least ``threshold_s`` (300) seconds, longest first."""
        query = {"threshold_s": threshold_s}
        return Listing(path="/activity/long-running", query=query, page=LongRunningList, page_size=None)

    @call
    def terminate_backend(self, pid: int, *, backend_start: datetime | None = None) -> Call[TerminatedBackend]:
        """End a session that blocks a migration now, or that ``backend_start`` names."""
        return Call(
            method="POST",
            path="/activity/backends/{pid}/terminate",
            parts={"pid": str(pid)},
            body=TerminateBody(backend_start=backend_start),
            answer=TerminatedBackend,
        )

    @call
    def get_pool(self) -> Call[PoolState]:
        """The connections of the replica that answers, and its slots for migrations."""
        return Call(method="GET", path="/activity/pool", answer=PoolState)

    @call
    def create_token(self, name: str, scopes: Sequence[str], *, expires: str = "90d") -> Call[NewToken]:
        """Create a token. The secret is only in this answer: the service stores its SHA-256."""
        body = TokenBody(name=name, scopes=list(scopes), expires=expires)
        return Call(method="POST", path="/tokens", body=body, answer=NewToken)

    @call
    def create_ticket(self) -> Call[Ticket]:
        """A ticket that lets a browser open streams of events for a minute."""
        return Call(method="POST", path="/events/ticket", answer=Ticket, is_repeatable=True)

    @listing
    def list_tokens(
        self, *, q: str | None = None, state: TokenState | Sequence[TokenState] | None = None, limit: int | None = None
    ) -> Listing[Token]:
        """All tokens, newest first, including revoked ones, without their secrets. ``q``: only tokens whose name
        contains it."""
        states = state if state is None or isinstance(state, str) else ",".join(state)
        return Listing(path="/tokens", page=TokenList, query={"q": q, "state": states}, limit=limit)

    @call
    def revoke_token(self, token_id: str) -> Call[Token]:
        """Revoke a token: every replica refuses it within three seconds."""
        path = "/tokens/{token_id}"
        # A revoked token stays unchanged.
        return Call(method="DELETE", path=path, parts={"token_id": token_id}, answer=Token, is_repeatable=True)

    @listing
    def get_audit(
        self, *, principal: str | None = None, module: str | None = None, limit: int | None = None
    ) -> Listing[AuditEntry]:
        """Every request that would have changed something, including refused ones, newest first."""
        return Listing(path="/audit", query={"principal": principal, "module": module}, page=AuditPage, limit=limit)
