"""GET /schemas and /schemas/{schema}."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.params import Parameter

from ...api.schemas import SchemaDetail, SchemaList
from ...database.pool import Database
from ...registry.modules import Registry
from ...web.pagination import Cursor, cursor_of, read_cursor
from ...web.problems import error_responses
from .queries import page_of_schemas, schema_detail


class SchemaController(Controller):
    path = "/schemas"
    tags = ("schemas",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=error_responses("invalid_request", "database_unavailable", "lock_timeout"))
    async def list_schemas(
        self,
        database: Database,
        registry: Registry,
        system: Annotated[bool, Parameter(description="Include PostgreSQL's own schemas.")] = False,
        limit: Annotated[int, Parameter(ge=1, le=1000, description="The maximum number of items on the page.")] = 200,
        cursor: Cursor = None,
    ) -> SchemaList:
        """The schemas of the database, with their size and the modules in them."""
        after = "" if cursor is None else read_cursor(cursor, str)
        reading = page_of_schemas(database, registry, system=system, limit=limit, after=after)
        schemas, following = await database.with_timeout(reading)
        return SchemaList(schemas, None if following is None else cursor_of(following))

    @get("/{schema:str}", responses=error_responses("schema_unknown", "database_unavailable", "lock_timeout"))
    async def get_schema(self, database: Database, registry: Registry, schema: str) -> SchemaDetail:
        """The tables of one schema: sizes, indexes, dead rows."""
        return await database.with_timeout(schema_detail(database, registry, schema))
