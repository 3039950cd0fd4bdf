-- blockers: the tree of the backends that block a backend, and that block those
-- "relation" and "mode" are what the blocked one of the two waits for.
WITH RECURSIVE tree AS (
    SELECT blocker AS pid, $1::integer AS blocks, 1 AS depth
    FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS blocker
  UNION
    SELECT blocker, tree.pid, tree.depth + 1
    FROM tree, pg_catalog.unnest(pg_catalog.pg_blocking_pids(tree.pid)) AS blocker
    WHERE tree.depth < 10
)
SELECT DISTINCT tree.pid, tree.blocks, tree.depth, a.usename AS "user", a.application_name, a.backend_start, a.state,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float AS transaction_age_s,
       pg_catalog.left(a.query, 200) AS query, wanted.relation, wanted.mode
FROM tree LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = tree.pid
LEFT JOIN LATERAL (
    SELECT n.nspname::text || '.' || c.relname::text AS relation,
           pg_catalog.upper(pg_catalog.regexp_replace(pg_catalog.regexp_replace(l.mode, 'Lock$', ''),
                                                      '([a-z])([A-Z])', E'\\1 \\2', 'g')) AS mode
    FROM pg_catalog.pg_locks l
    LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE l.pid = tree.blocks AND NOT l.granted
    LIMIT 1
) AS wanted ON true
ORDER BY tree.depth, tree.pid

-- end_blockers: end the sessions of the tree that block the backend $1 and that the policy allows to end $2: idle in a
-- transaction for more than these seconds; $3, $4: application names and roles. Not autovacuum, replication and other
-- background processes, no superusers, and no migrations, each of which holds an advisory lock.
WITH RECURSIVE tree AS (
    SELECT blocker AS pid, 1 AS depth FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS blocker
  UNION
    SELECT blocker, tree.depth + 1
    FROM tree, pg_catalog.unnest(pg_catalog.pg_blocking_pids(tree.pid)) AS blocker
    WHERE tree.depth < 10
), allowed AS MATERIALIZED (
    SELECT DISTINCT a.pid, a.usename::text AS "user", a.application_name, a.state,
           EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float AS transaction_age_s,
           EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.state_change)::float AS state_age_s,
           pg_catalog.left(a.query, 200) AS query
    FROM tree
    JOIN pg_catalog.pg_stat_activity a ON a.pid = tree.pid
    JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
    WHERE a.pid <> $1 AND a.backend_type = 'client backend' AND NOT r.rolsuper AND NOT r.rolreplication
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l
                      WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.objsubid = 1)
      AND (a.state LIKE 'idle in transaction%'
           AND a.state_change < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $2::float8)
           OR a.application_name = ANY ($3::text[]) OR a.usename = ANY ($4::text[]))
)
SELECT pid, "user", application_name, state, transaction_age_s, state_age_s, query
FROM allowed WHERE {{end}}(pid)

-- is_idle: whether a backend is waiting for its client
SELECT state = 'idle' FROM pg_catalog.pg_stat_activity WHERE pid = $1

-- progress: the progress of a command of a backend, from the progress view that has it
-- rewrites is the view for commands that rewrite tables: since 19 REPACK, with CLUSTER and VACUUM FULL, has a new one.
SELECT command, phase, CASE WHEN total > 0 THEN pg_catalog.round(100.0 OPERATOR(pg_catalog.*) done OPERATOR(pg_catalog./) total, 1)::float END AS percent
FROM (
    SELECT command, phase, CASE WHEN blocks_total > 0 THEN blocks_done ELSE tuples_done END AS done,
           CASE WHEN blocks_total > 0 THEN blocks_total ELSE tuples_total END AS total
    FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1
  UNION ALL
    SELECT command, phase, heap_blks_scanned, heap_blks_total
    FROM {{rewrites}} WHERE pid = $1
  UNION ALL
    SELECT 'VACUUM', phase, heap_blks_scanned, heap_blks_total
    FROM pg_catalog.pg_stat_progress_vacuum WHERE pid = $1
  UNION ALL
    SELECT command, 'copying', bytes_processed, bytes_total
    FROM pg_catalog.pg_stat_progress_copy WHERE pid = $1
) AS any_of_them
LIMIT 1
