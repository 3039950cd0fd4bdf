"""Schemas as PostgreSQL's catalog describes them. The sizes of tables that are locked exclusively are left out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ...api.schemas import Index, SchemaDetail, SchemaSummary, Table
from ...database.sql import statement

if TYPE_CHECKING:
    from pgdbm.core.manager import AsyncDatabaseManager

_sql = partial(statement, "schemas")
_LOCKED = _sql("locked")


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
    """The tables and indexes of schema ``name``, without the modules in it; None where there is no such schema."""
    # PostgreSQL cannot even compare with a text that holds a NUL.
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
