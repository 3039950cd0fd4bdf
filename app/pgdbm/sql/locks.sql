-- probe: whether the lock is free just now; holds it for no longer than this statement
SELECT pg_catalog.pg_try_advisory_xact_lock($1)

-- take: the lock for as long as the session lives, if it is free
SELECT pg_catalog.pg_try_advisory_lock($1)

-- give_back: the session's lock
SELECT pg_catalog.pg_advisory_unlock($1)

-- holder: who has the lock
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

-- backend: the process id that the server itself knows us by; through a transaction pooler it is not the one announced
SELECT pg_catalog.pg_backend_pid()

-- flush: a commit that waits for the disk, and with it for every commit before it
SELECT pg_catalog.pg_logical_emit_message(true, 'pgdbm', '')
