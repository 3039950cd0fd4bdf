-- alive: marks the schema with that name as in use while the session lasts
SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended($1, 0))

-- abandoned: schemas of rehearsals whose session has ended
SELECT nspname::text FROM pg_catalog.pg_namespace
WHERE CASE WHEN nspname ~ $1 THEN pg_catalog.pg_try_advisory_xact_lock(
          pg_catalog.hashtextextended(nspname::text, 0)) ELSE false END

-- create: the schema to rehearse in
CREATE SCHEMA {{schema}}

-- tables: some tables of the schema; each one that is dropped takes an entry of the lock table until the commit
SELECT c.oid::regclass::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'f') LIMIT $2

-- drop: the schema and the remaining objects in it
DROP SCHEMA IF EXISTS {{schema}} CASCADE

-- settings: session settings for every statement
SELECT pg_catalog.set_config('search_path', $1, false),
       pg_catalog.set_config('lock_timeout', COALESCE($2, pg_catalog.current_setting('lock_timeout')), false),
       pg_catalog.set_config('statement_timeout', '0', false),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '0', false),
       pg_catalog.set_config('synchronous_commit', 'off', false)

-- wal: the number of bytes that the server has written to the WAL
SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint

-- relations: the relations of the schema, to name the locks on dropped ones, and to detect which ones are rewritten
SELECT c.oid, c.relname::text AS name, pg_catalog.pg_relation_filenode(c.oid) AS filenode
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1

-- held: the locks of this session on relations, except those of the catalog
SELECT l.relation AS oid, l.mode, n.nspname::text AS schema, c.relname::text AS name,
       pg_catalog.pg_relation_filenode(c.oid) AS filenode
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND l.relation >= 16384::oid
  AND (n.nspname IS NULL OR n.nspname <> 'information_schema' AND n.nspname !~ '^pg_toast')

-- drops: the number of objects other than tables that the open transaction has dropped
SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks
WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'object' AND mode = 'AccessExclusiveLock'

-- traces: what the open transaction did beyond the schema $1, besides locks on tables; recent changes of other
-- sessions may be included
SELECT 'roles, databases or what else the server has only once' AS what
WHERE EXISTS (SELECT FROM pg_catalog.pg_locks
              WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND database = 0::oid
                AND mode NOT IN ('AccessShareLock', 'RowShareLock'))
UNION ALL
SELECT 'something in schema ' || n.nspname
FROM pg_catalog.pg_namespace n
WHERE n.nspname <> $1::name AND n.nspname !~ '^pg_(toast|temp)' AND (
    pg_catalog.age(n.xmin) <= pg_catalog.age(pg_catalog.pg_current_xact_id()::xid)
    OR EXISTS (SELECT FROM pg_catalog.pg_depend d
               WHERE d.refclassid = 'pg_catalog.pg_namespace'::regclass::oid AND d.refobjid = n.oid
                 AND pg_catalog.age(d.xmin) <= pg_catalog.age(pg_catalog.pg_current_xact_id()::xid)))
UNION ALL
SELECT 'function ' || p.oid::regprocedure::text
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> $1::name AND pg_catalog.age(p.xmin) <= pg_catalog.age(pg_catalog.pg_current_xact_id()::xid)
UNION ALL
SELECT 'extension ' || e.extname
FROM pg_catalog.pg_extension e
WHERE pg_catalog.age(e.xmin) <= pg_catalog.age(pg_catalog.pg_current_xact_id()::xid)
