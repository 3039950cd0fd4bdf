"""Schemas as PostgreSQL's catalog describes them. The sizes of tables that are locked exclusively are omitted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...api.schemas import Index, SchemaDetail, SchemaSummary, Table
from ...database.sql import statement
from ...errors import ServiceError, did_you_mean
from ...status.history_tables import Reader, modules_in_history

if TYPE_CHECKING:
    from collections.abc import Collection

    from pgdbm.core.manager import AsyncDatabaseManager

    from ...database.pool import Database
    from ...registry.modules import Registry

_sql = partial(statement, "schemas")
_LOCKED = _sql("locked")


async def page_of_schemas(
    database: Database, registry: Registry, *, system: bool, limit: int, after: str
) -> tuple[list[SchemaSummary], str | None]:
    """Up to ``limit`` schemas after ``after``, with the modules in them, and ``after`` of the next page."""
    found = await list_schemas(database.manager(), system=system, limit=limit + 1, after=after)
    schemas = found[:limit]
    names = await _module_names(database, registry, [one.name for one in schemas])
    for one in schemas:
        one.modules = names[one.name]
    return schemas, schemas[-1].name if len(found) > limit else None


async def schema_detail(database: Database, registry: Registry, schema: str) -> SchemaDetail:
    """The tables of ``schema``, with the modules in it.

    Raises:
        ServiceError: schema_unknown.
    """
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


async def _module_names(database: Database, registry: Registry, schemas: Collection[str]) -> dict[str, list[str]]:
    names = {schema: set(registry.names_in(schema)) for schema in schemas}
    for module in await modules_in_history(Reader(database.manager(), database.login_names), schemas):
        names[module.schema].add(module.name)
    return {schema: sorted(modules) for schema, modules in names.items()}


async def list_schemas(db: AsyncDatabaseManager, *, system: bool, limit: int, after: str) -> list[SchemaSummary]:
    """Up to ``limit`` schemas after ``after``, with PostgreSQL's own if ``system``; without the modules in them."""
    return [
        SchemaSummary(**row, modules=[])
        for row in await db.fetch_all(_sql("page", locked=_LOCKED), system, after, limit)
    ]


async def schema_names(db: AsyncDatabaseManager) -> list[str]:
    """The names of schemas, for suggestions: no more than can be compared quickly."""
    return [row["name"] for row in await db.fetch_all(_sql("names"))]


async def describe_schema(db: AsyncDatabaseManager, name: str) -> SchemaDetail | None:
    """The tables and indexes of schema ``name``, without the modules in it; None if there is no such schema."""
    # PostgreSQL cannot even compare with a text that contains NUL.
    schema = None if "\x00" in name else await db.fetch_one(_sql("schema"), name)
    if schema is None:
        return None
    tables: dict[int, Table] = {}
    for row in await db.fetch_all(_sql("tables", locked=_LOCKED), name):
        oid = row.pop("oid")
        tables[oid] = Table(**row, indexes=[])
    for row in await db.fetch_all(_sql("indexes", locked=_LOCKED), name):
        table = tables.get(row.pop("table_oid"))
        if table is not None:
            table.indexes.append(Index(**row))
    sizes = [table.size_bytes for table in tables.values()]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    return SchemaDetail(**schema, size_bytes=total, modules=[], tables=list(tables.values()))
