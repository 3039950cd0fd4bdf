-- use: the tables among the given names, with their rows, bytes and use; partitions count for the partitioned table.
-- Statistics that were never reset are as old as the server's, which loses all of them in a crash.
-- Reading a size takes ACCESS SHARE: the timeout keeps a plan from waiting for a session that holds the table.
WITH settings AS MATERIALIZED (
    SELECT pg_catalog.set_config('lock_timeout', '100ms', true)
), holders AS MATERIALIZED (
    SELECT l.relation, pg_catalog.min(a.xact_start) AS oldest
    FROM pg_catalog.pg_locks l
    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
    GROUP BY l.relation
), found AS (
    SELECT wanted.name, c.oid, c.relkind, n.nspname::text || '.' || c.relname::text AS relation
    FROM pg_catalog.unnest($1::text[]) AS wanted(name)
    JOIN pg_catalog.pg_class c
      ON c.relname = pg_catalog.substr(wanted.name, pg_catalog.strpos(wanted.name, '.') + 1)
     AND c.relkind IN ('r', 'p', 'm')
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE CASE WHEN pg_catalog.strpos(wanted.name, '.') > 0 THEN n.nspname = pg_catalog.split_part(wanted.name, '.', 1)
               ELSE pg_catalog.pg_table_is_visible(c.oid) END
)
SELECT found.name, found.relation, total.rows, total.bytes, total.reads / period.seconds AS reads_per_s,
       total.writes / period.seconds AS writes_per_s, period.since AS statistics_since,
       EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - total.oldest)::float8 AS longest_transaction_s
FROM settings CROSS JOIN found
CROSS JOIN (
    SELECT one.since,
           greatest(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp() - one.since)::float8, '1'::float8) AS seconds
    FROM (
        SELECT COALESCE((SELECT d.stats_reset FROM pg_catalog.pg_stat_database d
                         WHERE d.datname = pg_catalog.current_database()), b.stats_reset) AS since
        FROM pg_catalog.pg_stat_bgwriter b
    ) AS one
) AS period
CROSS JOIN LATERAL (
    SELECT CASE WHEN pg_catalog.bool_or(one.rows IS NULL) THEN NULL ELSE pg_catalog.sum(one.rows)::bigint END AS rows,
           pg_catalog.sum(one.bytes)::bigint AS bytes, pg_catalog.sum(one.reads)::float8 AS reads,
           pg_catalog.sum(one.writes)::float8 AS writes, pg_catalog.min(one.oldest) AS oldest
    FROM (
        SELECT pg_catalog.pg_total_relation_size(c.oid) AS bytes,
               pg_catalog.pg_stat_get_numscans(c.oid) + COALESCE((
                   SELECT pg_catalog.sum(pg_catalog.pg_stat_get_numscans(i.indexrelid))::bigint
                   FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid), '0'::bigint) AS reads,
               pg_catalog.pg_stat_get_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_tuples_updated(c.oid)
                   + pg_catalog.pg_stat_get_tuples_deleted(c.oid) AS writes,
               (SELECT h.oldest FROM holders h WHERE h.relation = c.oid) AS oldest,
               CASE WHEN pg_catalog.pg_relation_size(c.oid) = 0 THEN 0
                    WHEN c.reltuples >= '0'::real
                    THEN greatest(c.reltuples::bigint, pg_catalog.pg_stat_get_live_tuples(c.oid), 1)
                    ELSE nullif(pg_catalog.pg_stat_get_live_tuples(c.oid), 0) END AS rows
        FROM (
            SELECT found.oid WHERE found.relkind <> 'p'
            UNION ALL
            SELECT tree.relid FROM pg_catalog.pg_partition_tree(found.oid) AS tree WHERE found.relkind = 'p'
        ) AS part(oid)
        -- Not a join: the planner expects a thousand partitions per table and would read all of pg_class.
        CROSS JOIN LATERAL (
            SELECT * FROM pg_catalog.pg_class WHERE oid = part.oid AND relkind <> 'p' OFFSET 0
        ) AS c
    ) AS one
) AS total

-- facts: what the rules and the fixes need to know about tables: the columns that cannot be null, the valid CHECK
-- constraints, the columns of a unique index of which none can be null, the primary key first; the columns that other
-- objects use or that compute their value, those with a default, and the types of all, null for those that cannot
-- change without a scan
WITH RECURSIVE found AS (
    SELECT wanted.name, c.oid, c.relkind
    FROM pg_catalog.unnest($1::text[]) AS wanted(name)
    JOIN pg_catalog.pg_class c
      ON c.relname = pg_catalog.substr(wanted.name, pg_catalog.strpos(wanted.name, '.') + 1)
     AND c.relkind IN ('r', 'p')
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE CASE WHEN pg_catalog.strpos(wanted.name, '.') > 0 THEN n.nspname = pg_catalog.split_part(wanted.name, '.', 1)
               ELSE pg_catalog.pg_table_is_visible(c.oid) END
), tree AS (
    SELECT found.name, found.oid FROM found
    UNION ALL
    SELECT tree.name, i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid
), scanned AS MATERIALIZED (
    SELECT tree.name, a.attname
    FROM tree JOIN pg_catalog.pg_constraint k ON k.conrelid = tree.oid AND k.contype = 'c'::"char"
    JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
    UNION
    SELECT tree.name, a.attname
    FROM tree JOIN pg_catalog.pg_index i ON i.indrelid = tree.oid AND (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL)
    JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.objid = i.indexrelid
     AND d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjid = i.indrelid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
)
SELECT found.name, found.relkind = 'p'::"char" AS is_partitioned,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = found.oid AND a.attnum > '0'::smallint AND a.attnotnull AND NOT a.attisdropped
             ORDER BY a.attnum) AS not_null,
       ARRAY(SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k
             WHERE k.conrelid = found.oid AND k.contype = 'c'::"char" AND k.convalidated
             ORDER BY k.conname) AS checks,
       (SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, place)
                     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                     WHERE k.place <= i.indnkeyatts::bigint ORDER BY k.place)
        FROM pg_catalog.pg_index i
        WHERE i.indrelid = found.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
          AND i.indexprs IS NULL
          AND NOT EXISTS (SELECT FROM pg_catalog.unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, place)
                          JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
                          WHERE k.place <= i.indnkeyatts::bigint AND NOT a.attnotnull)
        ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid LIMIT 1) AS key,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = found.oid AND a.attnum > '0'::smallint AND NOT a.attisdropped
               AND (a.attidentity <> ''::"char" OR a.attgenerated <> ''::"char" OR EXISTS (
                   SELECT FROM pg_catalog.pg_depend d
                   WHERE d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjid = a.attrelid
                     AND d.refobjsubid = a.attnum::integer
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_attrdef f
                                     WHERE d.classid = 'pg_catalog.pg_attrdef'::regclass::oid AND f.oid = d.objid
                                       AND f.adnum = a.attnum)
                     AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k
                                     WHERE d.classid = 'pg_catalog.pg_constraint'::regclass::oid AND k.oid = d.objid
                                       AND k.contype = 'n'::"char")))
             ORDER BY a.attnum) AS used,
       ARRAY(SELECT ARRAY[a.attname::text, pg_catalog.pg_get_expr(f.adbin, f.adrelid)]
             FROM pg_catalog.pg_attrdef f
             JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
             WHERE f.adrelid = found.oid ORDER BY f.adnum) AS defaults,
       ARRAY(SELECT ARRAY[a.attname::text, CASE
                 WHEN t.typnamespace = 'pg_catalog'::regnamespace::oid
                  AND NOT EXISTS (SELECT FROM scanned
                                  WHERE scanned.name = found.name AND scanned.attname = a.attname)
                 THEN t.typname::text END, a.atttypmod::text]
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = found.oid AND a.attnum > '0'::smallint AND NOT a.attisdropped
             ORDER BY a.attnum) AS types
FROM found
