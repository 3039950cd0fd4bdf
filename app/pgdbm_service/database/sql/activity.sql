-- backend: the client backend $1, and whether it blocks one of the backends $2, directly or through others
WITH RECURSIVE tree AS (
    SELECT blocker AS pid, 1 AS depth
    FROM unnest($2::text[]) AS waiting, unnest(pg_catalog.pg_blocking_pids(waiting::integer)) AS blocker
  UNION
    SELECT blocker, tree.depth + 1
    FROM tree, unnest(pg_catalog.pg_blocking_pids(tree.pid)) AS blocker
    WHERE tree.depth < 50
)
SELECT a.pid, a.usename AS "user", a.application_name, a.backend_start,
       EXISTS (SELECT FROM tree WHERE tree.pid = a.pid) AS blocks_migration
FROM pg_catalog.pg_stat_activity a
WHERE a.pid = $1 AND a.backend_type = 'client backend'

-- terminate: end the backend $1, if it is still the one that started at $2; true if it was signalled
SELECT pg_catalog.pg_terminate_backend(pid)
FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start = $2

-- connected: which of the sessions with the process ids $1 and the start times $2, as JSON texts, are still connected
SELECT a.pid, a.usename AS "user", a.application_name, a.state, a.backend_start, a.query,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8 AS transaction_age_s
FROM pg_catalog.pg_stat_activity a
JOIN ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS wanted (pid, backend_start)
    ON a.pid = wanted.pid::bigint AND a.backend_start = wanted.backend_start::timestamptz
ORDER BY a.xact_start, a.pid
