-- blocking_queries: the sessions that wait for a lock in this database, and the sessions that hold it
SELECT blocked.pid AS blocked_pid,
       blocked.usename::text AS blocked_user,
       blocked.application_name AS blocked_application_name,
       blocked.query AS blocked_query,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - blocked.query_start)::float8 AS blocked_seconds,
       blocked.state AS blocked_state,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - blocked.xact_start)::float8 AS blocked_transaction_seconds,
       blocking.pid AS blocking_pid,
       blocking.usename::text AS blocking_user,
       blocking.application_name AS blocking_application_name,
       blocking.state AS blocking_state,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - blocking.xact_start)::float8 AS blocking_transaction_seconds,
       blocking.query AS blocking_query
FROM pg_catalog.pg_stat_activity AS blocked
CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(blocked.pid)) AS blocker (pid)
JOIN pg_catalog.pg_stat_activity AS blocking ON blocking.pid = blocker.pid
WHERE blocked.datname = pg_catalog.current_database()
  AND blocked.wait_event_type = 'Lock'
ORDER BY blocked.query_start, blocking.pid

-- long_running_queries: queries that started $1 seconds ago or earlier; for an idle transaction, its start counts.
-- clock_timestamp() and not now(): the query may run in a long transaction
SELECT pid,
       usename::text AS "user",
       application_name,
       state,
       query,
       began AS started_at,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - began)::float8 AS duration_seconds
FROM pg_catalog.pg_stat_activity
CROSS JOIN LATERAL (SELECT CASE WHEN state = 'active' THEN query_start ELSE xact_start END) AS start (began)
WHERE datname = pg_catalog.current_database()
  AND backend_type = 'client backend'
  AND pid <> pg_catalog.pg_backend_pid()
  AND state <> 'idle'
  AND began <= pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1)
ORDER BY began

-- table_sizes: every table of schema $1, or of all schemas if that is null
SELECT n.nspname::text AS schema,
       c.relname::text AS "table",
       c.reltuples::bigint AS row_estimate,
       pg_catalog.pg_table_size(c.oid) AS table_bytes,
       pg_catalog.pg_indexes_size(c.oid) AS index_bytes,
       pg_catalog.pg_total_relation_size(c.oid) AS total_bytes,
       pg_catalog.pg_size_pretty(pg_catalog.pg_total_relation_size(c.oid)) AS total_size,
       c.relname::text AS tablename,
       pg_catalog.pg_total_relation_size(c.oid) AS size_bytes,
       pg_catalog.pg_stat_get_live_tuples(c.oid) AS row_count
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm')
  AND n.nspname !~ '^pg_'
  AND n.nspname <> 'information_schema'
  AND ($1::text IS NULL OR n.nspname = $1)
ORDER BY total_bytes DESC, n.nspname, c.relname
