"""GET /schemas and /schemas/{schema}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from litestar import Controller, get
from litestar.params import Parameter

from ...api.schemas import SchemaDetail, SchemaList
from ...database.pool import Database
from ...errors import ServiceError, did_you_mean
from ...registry.modules import Registry
from ...status.history_tables import Reader, modules_in_history
from ...web.pagination import Cursor, cursor_of, read_cursor
from ...web.problems import error_responses
from .queries import describe_schema, list_schemas, schema_names

if TYPE_CHECKING:
    from collections.abc import Collection


class SchemaController(Controller):
    path = "/schemas"
    tags = ("schemas",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=error_responses("invalid_request", "database_unavailable", "lock_timeout"))
    async def list_schemas(
        self,
        database: Database,
        registry: Registry,
        system: Annotated[bool, Parameter(description="List PostgreSQL's own schemas too.")] = False,
        limit: Annotated[int, Parameter(ge=1, le=1000, description="The maximum number of items on the page.")] = 200,
        cursor: Cursor = None,
    ) -> SchemaList:
        """The schemas of the database, with their size and the modules in them."""

        after = "" if cursor is None else read_cursor(cursor, str)

        async def read_list() -> SchemaList:
            found = await list_schemas(database.manager(), system=system, limit=limit + 1, after=after)
            schemas = found[:limit]
            names = await _module_names(database, registry, [one.name for one in schemas])
            for one in schemas:
                one.modules = names[one.name]
            return SchemaList(schemas, cursor_of(schemas[-1].name) if len(found) > limit else None)

        return await database.with_timeout(read_list())

    @get("/{schema:str}", responses=error_responses("schema_unknown", "database_unavailable", "lock_timeout"))
    async def get_schema(self, database: Database, registry: Registry, schema: str) -> SchemaDetail:
        """The tables of one schema: sizes, indexes, dead rows."""

        async def read_detail() -> SchemaDetail:
            db = database.manager()
            found = await describe_schema(db, schema)
            if found is None:
                raise ServiceError(
                    "schema_unknown",
                    f"There is no schema {schema!r} in the database.",
                    schema=schema,
                    hint=did_you_mean(schema, await schema_names(db)),
                )
            found.modules = (await _module_names(database, registry, [schema]))[schema]
            return found

        return await database.with_timeout(read_detail())


async def _module_names(database: Database, registry: Registry, schemas: Collection[str]) -> dict[str, list[str]]:
    names = {schema: set(registry.names_in(schema)) for schema in schemas}
    for module in await modules_in_history(Reader(database.manager(), database.login_names), schemas):
        names[module.schema].add(module.name)
    return {schema: sorted(modules) for schema, modules in names.items()}
