-- blockers: the tree of those that a backend waits for: whoever blocks it, and whoever blocks them
WITH RECURSIVE tree AS (
    SELECT blocker AS pid, $1::integer AS blocks, 1 AS depth
    FROM unnest(pg_catalog.pg_blocking_pids($1)) AS blocker
  UNION
    SELECT blocker, tree.pid, tree.depth + 1
    FROM tree, unnest(pg_catalog.pg_blocking_pids(tree.pid)) AS blocker
    WHERE tree.depth < 10
)
SELECT DISTINCT tree.pid, tree.blocks, tree.depth, a.usename AS "user", a.application_name, a.state,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float AS transaction_age_s,
       pg_catalog.left(a.query, 200) AS query
FROM tree LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = tree.pid
ORDER BY tree.depth, tree.pid

-- progress: how far a long command of a backend is, from whichever progress view has it
SELECT command, phase, CASE WHEN total > 0 THEN round(100.0 * done / total, 1)::float END AS percent
FROM (
    SELECT command, phase, CASE WHEN blocks_total > 0 THEN blocks_done ELSE tuples_done END AS done,
           CASE WHEN blocks_total > 0 THEN blocks_total ELSE tuples_total END AS total
    FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1
  UNION ALL
    SELECT command, phase, heap_blks_scanned, heap_blks_total
    FROM pg_catalog.pg_stat_progress_cluster WHERE pid = $1
  UNION ALL
    SELECT 'VACUUM', phase, heap_blks_scanned, heap_blks_total
    FROM pg_catalog.pg_stat_progress_vacuum WHERE pid = $1
  UNION ALL
    SELECT command, 'copying', bytes_processed, bytes_total
    FROM pg_catalog.pg_stat_progress_copy WHERE pid = $1
) AS any_of_them
LIMIT 1
