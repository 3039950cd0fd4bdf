"""GET /audit."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import Parameter

from ...api.audit import AuditPage
from ...database.audit import count_entries, read_entries
from ...database.pool import Database
from ...database.service_schema import SERVICE_SCHEMA
from ...web.pagination import TOTAL_LIMIT, Cursor, Limit, cursor_of, read_number
from ...web.problems import error_responses

# PostgreSQL's text holds no NUL.
_TEXT = r"^[^\x00]*$"


@get("/audit", tags=["audit"], opt={"needs": "admin"}, responses=error_responses())
async def get_audit(
    database: Database,
    limit: Limit = 50,
    cursor: Cursor = None,
    principal: Annotated[str | None, Parameter(pattern=_TEXT, description="Only requests of this principal.")] = None,
    module: Annotated[str | None, Parameter(pattern=_TEXT, description="Only requests for this module.")] = None,
) -> AuditPage:
    """Every request that would have changed something, including refused ones, newest first."""
    before = read_number(cursor)
    db = database.manager(SERVICE_SCHEMA)
    items, following = await database.with_timeout(read_entries(db, limit, before, principal, module))
    counted = await database.with_timeout(count_entries(db, principal, module, TOTAL_LIMIT))
    return AuditPage(items, None if following is None else cursor_of(following), *counted)
