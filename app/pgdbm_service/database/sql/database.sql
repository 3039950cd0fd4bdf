-- table_id: the id of the table $2 in the schema $1; null if there is none
SELECT (SELECT c.oid::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1::name AND c.relname = $2::name) AS table_id

-- fitness: whether the server accepts writes, the id of the table $2 in the schema $1, and the tables of that schema on
-- which the database user lacks privileges
SELECT pg_catalog.current_setting('transaction_read_only') = 'on' AS read_only,
       (SELECT c.oid::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1::name AND c.relname = $2::name) AS table_id,
       ARRAY(SELECT c.relname::text
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1::name AND c.relkind IN ('r', 'p')
               AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE')
                        AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
                        AND pg_catalog.has_table_privilege(c.oid, 'INSERT')
                        AND pg_catalog.has_table_privilege(c.oid, 'UPDATE')
                        AND pg_catalog.has_table_privilege(c.oid, 'DELETE'))
             ORDER BY c.relname) AS forbidden

-- backend: the process id of the session's backend
SELECT pg_catalog.pg_backend_pid()

-- identity: identifies a running server and a database in it, which needs no privilege; and the database user
SELECT pg_catalog.concat(pg_catalog.pg_postmaster_start_time(), ' ', oid) AS database, current_user::text AS "user"
FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()

-- user: the database user of the session
SELECT current_user::text

-- login: the session's user; and why its statements could access what belongs to the service's database user $1, is in
-- the schema $2, or requires one of the roles $3
SELECT current_user::text AS "user",
       ARRAY(SELECT power FROM (
           SELECT 1, 'it is a superuser' FROM pg_catalog.pg_roles r WHERE r.rolname = session_user AND r.rolsuper
         UNION ALL
           SELECT 2, 'it has CREATEROLE' FROM pg_catalog.pg_roles r WHERE r.rolname = session_user AND r.rolcreaterole
         UNION ALL
           SELECT 3, 'it has REPLICATION' FROM pg_catalog.pg_roles r WHERE r.rolname = session_user AND r.rolreplication
         UNION ALL
           SELECT 5, pg_catalog.concat('it is a member of ', r.rolname) FROM pg_catalog.pg_roles r
           WHERE (r.rolname = $1::text OR r.rolname = ANY ($3::text[]) OR r.rolsuper OR r.rolcreaterole)
             AND r.rolname <> session_user AND pg_catalog.pg_has_role(r.oid, 'MEMBER')
         UNION ALL
           SELECT 6, 'it owns the database' FROM pg_catalog.pg_database d
           WHERE d.datname = pg_catalog.current_database() AND pg_catalog.pg_has_role(d.datdba, 'MEMBER')
         UNION ALL
           SELECT 7, pg_catalog.concat('it has USAGE on the schema ', n.nspname) FROM pg_catalog.pg_namespace n
           WHERE n.nspname = $2::text AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
       ) AS found (number, power) ORDER BY number)::text[] AS powers

-- open_schemas: the schemas in the search_path in which every user may create objects
SELECT s.name::text AS schema
FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) AS s (name)
WHERE pg_catalog.has_schema_privilege('public', s.name::text, 'CREATE')

-- table_lock: a session with a lock on one of the service's own tables: in the schema $1, or with a name in $2 in any
-- schema
SELECT pg_catalog.concat(n.nspname, '.', c.relname) AS "table",
       a.pid, a.application_name, a.usename::text AS "user", a.client_addr::text AS client, a.state,
       COALESCE(a.xact_start, a.state_change) AS since
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_catalog.pg_backend_pid()
  AND l.mode IN ('AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock')
  AND (n.nspname = $1::name OR c.relname = ANY ($2::text[]::name[]))
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
ORDER BY l.mode <> 'AccessExclusiveLock', since
LIMIT 1
