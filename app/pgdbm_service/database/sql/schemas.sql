-- locked: part of a statement: the relations of this database that are locked exclusively
-- The size functions lock what they measure, so they would wait behind an ALTER TABLE.
WITH locked AS MATERIALIZED (
    SELECT l.relation FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
)

-- page: at most $3 schemas after $2, by name; with $1, including system schemas
{{locked}}, page AS MATERIALIZED (
    SELECT oid, nspname, nspowner FROM pg_catalog.pg_namespace
    WHERE ($1::boolean OR (nspname !~ '^pg_'::text
                           AND nspname NOT IN ('information_schema'::name, 'pgdbm_service'::name)))
      AND nspname > $2::text::name
    ORDER BY nspname LIMIT $3::bigint
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

-- names: the names of schemas, for finding similar ones; no more than can be compared quickly
SELECT nspname AS name FROM pg_catalog.pg_namespace ORDER BY nspname LIMIT 2000

-- schema: the schema $1
SELECT nspname AS name, pg_catalog.pg_get_userbyid(nspowner) AS owner
FROM pg_catalog.pg_namespace WHERE nspname = $1::text

-- tables: the tables and materialized views of the schema $1
{{locked}}
SELECT c.oid::bigint AS oid,
       c.relname AS name,
       CASE WHEN c.reltuples >= 0::real THEN c.reltuples::bigint END AS rows,
       COALESCE(pg_catalog.pg_stat_get_dead_tuples(c.oid), 0) AS dead_rows,
       CASE WHEN locked.relation IS NULL THEN pg_catalog.pg_total_relation_size(c.oid) END AS size_bytes,
       CASE WHEN locked.relation IS NULL THEN pg_catalog.pg_indexes_size(c.oid) END AS indexes_bytes
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN locked ON locked.relation = c.oid
WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p', 'm')
ORDER BY c.relname

-- indexes: the indexes of the tables of the schema $1
{{locked}}
SELECT x.indrelid::bigint AS table_oid,
       i.relname AS name,
       CASE WHEN locked.relation IS NULL THEN pg_catalog.pg_relation_size(i.oid) END AS size_bytes,
       x.indisunique AS unique,
       x.indisvalid AS valid
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
LEFT JOIN locked ON locked.relation = i.oid
WHERE n.nspname = $1::text
ORDER BY i.relname

-- invalid_indexes: the indexes that are not valid, and that no session is building
SELECT n.nspname AS schema, c.relname AS name, t.relname AS relation
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND n.nspname !~ '^pg_'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = c.oid)
ORDER BY n.nspname, c.relname
LIMIT 1000
