"""Requests and answers of the freeze calls."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

LONGEST_REASON = 1000
# PostgreSQL's text type cannot contain NUL.
Reason = Annotated[str, Meta(pattern=r"^[^\x00]+$", min_length=1, max_length=LONGEST_REASON)]
ModuleGlob = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.*?-]{1,100}$")]


class FreezeBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """``modules`` is a glob with ``*`` and ``?``. Without ``until`` the freeze ends when it is lifted."""

    reason: Reason
    modules: ModuleGlob = "*"
    until: Annotated[datetime, Meta(tz=True)] | None = None


class Freeze(msgspec.Struct, kw_only=True):
    """No run of the ``modules`` that the glob matches starts before ``until``."""

    modules: str
    reason: str
    until: datetime | None
    frozen_by: str
    frozen_at: datetime


class FreezeList(msgspec.Struct):
    items: list[Freeze]
    next: str | None = None
