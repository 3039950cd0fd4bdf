"""Schemas as PostgreSQL's catalog describes them.

The size functions lock what they measure, and would wait behind a migration's ALTER TABLE: what is exclusively
locked is not measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..own_schema import OWN_SCHEMA
from .structs import Index, SchemaDetail, SchemaSummary, Table

if TYPE_CHECKING:
    from pgdbm.core.manager import AsyncDatabaseManager

_LOCKED = """
    SELECT l.relation FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""

_SCHEMAS = f"""
WITH locked AS MATERIALIZED ({_LOCKED}),
page AS MATERIALIZED (
    SELECT oid, nspname, nspowner FROM pg_catalog.pg_namespace
    WHERE ($1 OR (nspname !~ '^pg_' AND nspname NOT IN ('information_schema', '{OWN_SCHEMA}')))
      AND nspname > $2::text::name
    ORDER BY nspname LIMIT $3
),
tables AS (
    SELECT c.relnamespace,
           pg_catalog.count(*) AS tables,
           pg_catalog.bool_or(locked.relation IS NOT NULL) AS any_locked,
           pg_catalog.sum(CASE WHEN locked.relation IS NULL THEN pg_catalog.pg_total_relation_size(c.oid) END)::bigint
               AS size_bytes
    FROM pg_catalog.pg_class c
    LEFT JOIN locked ON locked.relation = c.oid
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relnamespace IN (SELECT oid FROM page)
    GROUP BY c.relnamespace
)
SELECT n.nspname AS name,
       pg_catalog.pg_get_userbyid(n.nspowner) AS owner,
       COALESCE(t.tables, 0) AS tables,
       CASE WHEN t.any_locked THEN NULL ELSE COALESCE(t.size_bytes, 0) END AS size_bytes
FROM page n
LEFT JOIN tables t ON t.relnamespace = n.oid
ORDER BY n.nspname
"""  # noqa: S608 - one constant in another

_NAMES = "SELECT nspname AS name FROM pg_catalog.pg_namespace ORDER BY nspname LIMIT 2000"

_SCHEMA = """
SELECT nspname AS name, pg_catalog.pg_get_userbyid(nspowner) AS owner
FROM pg_catalog.pg_namespace WHERE nspname = $1::text
"""

_TABLES = f"""
WITH locked AS MATERIALIZED ({_LOCKED})
SELECT c.oid::bigint AS oid,
       c.relname AS name,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS rows,
       COALESCE(pg_catalog.pg_stat_get_dead_tuples(c.oid), 0) AS dead_rows,
       CASE WHEN locked.relation IS NULL THEN pg_catalog.pg_total_relation_size(c.oid) END AS size_bytes,
       CASE WHEN locked.relation IS NULL THEN pg_catalog.pg_indexes_size(c.oid) END AS indexes_bytes
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN locked ON locked.relation = c.oid
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'm')
ORDER BY c.relname
"""  # noqa: S608 - one constant in another

_INDEXES = f"""
WITH locked AS MATERIALIZED ({_LOCKED})
SELECT x.indrelid::bigint AS table_oid,
       i.relname AS name,
       CASE WHEN locked.relation IS NULL THEN pg_catalog.pg_relation_size(i.oid) END AS size_bytes,
       x.indisunique AS unique,
       x.indisvalid AS valid
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
LEFT JOIN locked ON locked.relation = i.oid
WHERE n.nspname = $1
ORDER BY i.relname
"""  # noqa: S608 - one constant in another


async def list_schemas(db: AsyncDatabaseManager, *, system: bool, limit: int, after: str) -> list[SchemaSummary]:
    """Up to ``limit`` schemas behind ``after``, with PostgreSQL's own if ``system``; without the modules in them."""
    return [SchemaSummary(**row, modules=[]) for row in await db.fetch_all(_SCHEMAS, system, after, limit)]


async def schema_names(db: AsyncDatabaseManager) -> list[str]:
    """The names of schemas, to find what is spelt alike: not more than can be compared in a moment."""
    return [row["name"] for row in await db.fetch_all(_NAMES)]


async def describe_schema(db: AsyncDatabaseManager, name: str) -> SchemaDetail | None:
    """The tables and indexes of schema ``name``, without the modules in it; None where there is no such schema."""
    # PostgreSQL cannot even compare with a text that holds a NUL.
    schema = None if "\x00" in name else await db.fetch_one(_SCHEMA, name)
    if schema is None:
        return None
    tables: dict[int, Table] = {}
    for row in await db.fetch_all(_TABLES, name):
        oid = row.pop("oid")
        tables[oid] = Table(**row, indexes=[])
    for row in await db.fetch_all(_INDEXES, name):
        table = tables.get(row.pop("table_oid"))
        if table is not None:
            table.indexes.append(Index(**row))
    sizes = [table.size_bytes for table in tables.values()]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    return SchemaDetail(**schema, size_bytes=total, modules=[], tables=list(tables.values()))
