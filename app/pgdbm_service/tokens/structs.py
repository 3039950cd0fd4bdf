"""What the token calls take and answer. The token itself is in ``..structs``, since auth knows it too."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ..structs import Token


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(description="What the audit calls whoever has the token.")]
    scopes: Annotated[list[str], Meta(description="`read`, `register:GLOB`, `migrate:GLOB`, `admin`.", min_length=1)]
    expires: Annotated[str, Meta(description="After how long: `30m`, `12h`, `90d`, `4w`, or `never`.")] = "90d"


class TokenList(msgspec.Struct):
    items: list[Token]
    next: str | None = None
