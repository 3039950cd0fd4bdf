"""GET /schemas and /schemas/{schema}."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, get
from litestar.params import Parameter

from ..database import Database
from ..errors import Problem, documented, spelt_alike
from ..history_tables import modules_in_history
from .queries import describe_schema, list_schemas
from .structs import SchemaDetail, SchemaList

# The names of the registered modules by schema.
RegisteredNames = dict[str, list[str]]


class SchemaController(Controller):
    path = "/schemas"
    tags = ("schemas",)
    opt = {"needs": "read"}  # noqa: RUF012 - Litestar merges it into each handler's

    @get(responses=documented("database_unavailable", "lock_timeout"))
    async def list_schemas(
        self,
        database: Database,
        registered_names: RegisteredNames,
        system: Annotated[bool, Parameter(description="List PostgreSQL's own schemas too.")] = False,
    ) -> SchemaList:
        """The schemas of the database, with their size and the modules in them."""

        async def look() -> SchemaList:
            db = database.manager()
            names = await _module_names(database, registered_names)
            return SchemaList(await list_schemas(db, system=system, modules=names))

        return await database.within_limit(look())

    @get("/{schema:str}", responses=documented("schema_unknown", "database_unavailable", "lock_timeout"))
    async def get_schema(self, database: Database, registered_names: RegisteredNames, schema: str) -> SchemaDetail:
        """The tables of one schema: sizes, indexes, dead rows."""

        async def look() -> SchemaDetail:
            db = database.manager()
            names = await _module_names(database, registered_names)
            found = await describe_schema(db, schema, modules=names.get(schema, []))
            if found is None:
                known = await list_schemas(db, system=True, modules={})
                raise Problem(
                    "schema_unknown",
                    f"There is no schema {schema!r} in the database.",
                    schema=schema,
                    hint=spelt_alike(schema, [one.name for one in known]),
                )
            return found

        return await database.within_limit(look())


async def _module_names(database: Database, registered: RegisteredNames) -> dict[str, list[str]]:
    names = {schema: set(modules) for schema, modules in registered.items()}
    for module in await modules_in_history(database.manager()):
        names.setdefault(module.schema, set()).add(module.name)
    return {schema: sorted(modules) for schema, modules in names.items()}
