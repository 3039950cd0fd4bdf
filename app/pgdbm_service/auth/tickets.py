"""Tickets that open a stream of events, for clients that cannot send a token, such as a browser's EventSource.

A ticket is part of a URL, which proxies log. So it is valid only for a minute and only for streams; a stream that was
opened with it outlives it.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from ..api.tokens import Ticket
from ..database.service_schema import SERVICE_SCHEMA
from ..database.sql import statement
from ..web.request import Principal
from .tokens import digest_of

if TYPE_CHECKING:
    from ..database.pool import Database

VALID_S = 60.0


async def create_ticket(database: Database, principal: Principal) -> Ticket:
    """A ticket that opens streams as ``principal``.

    Raises:
        ServiceError: database_unavailable.
    """
    ticket = secrets.token_urlsafe(32)
    creating = database.manager(SERVICE_SCHEMA).fetch_value(
        statement("stream_tickets", "create"), digest_of(ticket), principal.name, list(principal.scopes), VALID_S
    )
    return Ticket(ticket=ticket, expires_at=await database.with_timeout(creating))


async def principal_of_ticket(database: Database, ticket: str) -> Principal | None:
    """The principal of ``ticket``; None if it is unknown or has expired.

    Raises:
        ServiceError: database_unavailable.
    """
    finding = database.manager(SERVICE_SCHEMA).fetch_one(statement("stream_tickets", "find"), digest_of(ticket))
    row = await database.with_timeout(finding)
    return None if row is None else Principal(row["principal"], tuple(row["scopes"]))
