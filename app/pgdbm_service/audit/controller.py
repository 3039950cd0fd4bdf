"""GET /audit."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import Parameter

from ..cursors import cursor_of, read_number
from ..database import Database
from ..errors import documented
from .queries import read_entries
from .structs import AuditPage

# PostgreSQL's text holds no NUL.
_TEXT = r"^[^\x00]*$"


@get("/audit", tags=["audit"], opt={"needs": "admin"}, responses=documented())
async def get_audit(
    database: Database,
    limit: Annotated[int, Parameter(ge=1, le=200, description="How many items a page has.")] = 50,
    cursor: Annotated[str | None, Parameter(query="next", description="The `next` of the page before.")] = None,
    caller: Annotated[str | None, Parameter(pattern=_TEXT, description="Only what this caller did.")] = None,
    module: Annotated[str | None, Parameter(pattern=_TEXT, description="Only what was done to this module.")] = None,
) -> AuditPage:
    """Every request that would have changed something, also the refused ones, newest first."""
    before = read_number(cursor)
    items, following = await database.within_limit(read_entries(database, limit, before, caller, module))
    return AuditPage(items, None if following is None else cursor_of(following))
