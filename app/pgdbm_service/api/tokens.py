"""Requests and answers of the token calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from .common import Token


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(description="The name that the audit records for requests with the token.")]
    scopes: Annotated[
        list[str], Meta(description="`read`, `register:GLOB`, `migrate:GLOB`, `approve:GLOB`, `admin`.", min_length=1)
    ]
    expires: Annotated[
        str, Meta(description="When it expires: after `30m`, `12h`, `90d`, `4w` and the like, or `never`.")
    ] = "90d"


class TokenList(msgspec.Struct):
    """``total`` is the number of tokens on all pages, up to 10,000; ``total_is_capped``: there are more."""

    items: list[Token]
    next: str | None = None
    total: int | None = None
    total_is_capped: bool = False


class Ticket(msgspec.Struct, kw_only=True):
    """``ticket`` opens a stream of events as the query parameter of that name, until ``expires_at``."""

    ticket: str
    expires_at: datetime
