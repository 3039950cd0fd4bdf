-- probe: whether the lock is free; holds it until the end of this statement
SELECT pg_catalog.pg_try_advisory_xact_lock($1)

-- take: take the lock for the session, if it is free
SELECT pg_catalog.pg_try_advisory_lock($1)

-- release: release the lock of the session
SELECT pg_catalog.pg_advisory_unlock($1)

-- holder: the session that holds the lock
SELECT a.pid, a.application_name, a.usename AS "user", a.client_addr::text AS client, a.state,
       pg_catalog.left(a.query, 200) AS query,
       COALESCE(a.xact_start, a.state_change) AS since
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND l.objsubid = 1
  AND l.classid::bigint = (($1::bigint >> 32) & 4294967295)
  AND l.objid::bigint = ($1::bigint & 4294967295)
LIMIT 1

-- holder_of_table: the session with the lock on a table that another session has been waiting for longest
SELECT a.pid, a.application_name, a.usename AS "user", a.client_addr::text AS client, a.state,
       pg_catalog.left(a.query, 200) AS query,
       COALESCE(a.xact_start, a.state_change) AS since
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.granted AND n.nspname = $1::name AND c.relname = $2::name
  AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
ORDER BY since
LIMIT 1

-- flush: a synchronous commit, which flushes every commit before it
SELECT pg_catalog.pg_logical_emit_message(true, 'pgdbm', '')
