"""Which modules the history tables of a database know, whether anybody has their files or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pgdbm.core.identifiers import quote
from pgdbm.errors import QueryError

from .own_schema import OWN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Collection

    from pgdbm.core.queries import Queries

HISTORY_TABLE = "schema_migrations"

# Other tools have tables of this name too: ours are told by their columns.
_IS_OURS = """
    c.relkind IN ('r', 'p')
    AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND NOT a.attisdropped
           AND a.attname IN ('id', 'filename', 'checksum', 'module_name', 'applied_at')) = 5
"""
_MAY_READ = "pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT')"
_TABLES = f"""
SELECT n.nspname AS schema
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1 AND n.nspname !~ '^pg_' AND n.nspname <> $2 AND {_MAY_READ} AND {_IS_OURS}
"""  # noqa: S608 - constants in another
_READABLE = f"{_TABLES} ORDER BY n.nspname"
_COUNT = f"SELECT pg_catalog.count(*) FROM ({_TABLES} LIMIT $3) AS found"  # noqa: S608
# From the schemas to the tables, whatever the planner thinks: with thousands of tables of one name, the other way
# round takes as long for each hundred of them as for all.
_AMONG = f"""
WITH wanted AS MATERIALIZED (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
    WHERE nspname = ANY ($3::text[]::name[]) AND nspname !~ '^pg_' AND nspname <> $2
)
SELECT n.nspname AS schema, {_MAY_READ} AS readable
FROM wanted n
CROSS JOIN LATERAL (SELECT * FROM pg_catalog.pg_class WHERE relname = $1 AND relnamespace = n.oid OFFSET 0) AS c
WHERE {_IS_OURS}
"""  # noqa: S608
_MODULES_OF_SCHEMA = """
SELECT {number} AS number, module_name,
       pg_catalog.count(*) AS applied,
       (pg_catalog.array_agg(filename ORDER BY id DESC))[1] AS last_filename
FROM {table} WHERE module_name IS NOT NULL GROUP BY module_name
"""
_SCHEMAS_IN_STATEMENT = 100
DROPPED_MEANWHILE = frozenset({"42P01", "3F000"})


class HistoryModule(msgspec.Struct, frozen=True):
    """A module in the history table of one schema. ``last_filename`` is what was applied last."""

    schema: str
    name: str
    applied: int
    last_filename: str


async def modules_in_history(db: Queries, among: Collection[str] | None = None) -> list[HistoryModule]:
    """Every module of every history table that we may read, by schema and name; in the schemas ``among``, if given."""
    schemas = None if among is None else list(among)
    try:
        return await _look(db, schemas)
    except QueryError as error:
        # Tenants come and go: a schema may vanish between the two looks.
        if error.details.get("sqlstate") not in DROPPED_MEANWHILE:
            raise
        return await _look(db, schemas)


async def schemas_with_history(db: Queries) -> list[str]:
    """The schemas with a history table that we may read, by name."""
    return [row["schema"] for row in await db.fetch_all(_READABLE, HISTORY_TABLE, OWN_SCHEMA)]


async def are_few_histories(db: Queries, few: int) -> bool:
    """Whether there are at most ``few`` history tables that we may read; as fast where there are many."""
    found: int = await db.fetch_value(_COUNT, HISTORY_TABLE, OWN_SCHEMA, few + 1)
    return found <= few


async def may_be_read(db: Queries, among: list[str]) -> dict[str, bool]:
    """Which of the schemas ``among`` have a history table, and whether we may read it."""
    rows = await db.fetch_all(_AMONG, HISTORY_TABLE, OWN_SCHEMA, among)
    return {row["schema"]: row["readable"] for row in rows}


async def _look(db: Queries, among: list[str] | None) -> list[HistoryModule]:
    if among is None:
        schemas = await schemas_with_history(db)
    else:
        schemas = [schema for schema, readable in (await may_be_read(db, among)).items() if readable]
    found: list[HistoryModule] = []
    for start in range(0, len(schemas), _SCHEMAS_IN_STATEMENT):
        found += await _modules_of(db, schemas[start : start + _SCHEMAS_IN_STATEMENT])
    return sorted(found, key=lambda module: (module.schema, module.name))


async def _modules_of(db: Queries, schemas: list[str]) -> list[HistoryModule]:
    parts = [
        _MODULES_OF_SCHEMA.format(number=number, table=f"{quote(schema)}.{quote(HISTORY_TABLE)}")
        for number, schema in enumerate(schemas)
    ]
    rows = await db.fetch_all(" UNION ALL ".join(parts))
    return [
        HistoryModule(schemas[row["number"]], row["module_name"], row["applied"], row["last_filename"]) for row in rows
    ]
