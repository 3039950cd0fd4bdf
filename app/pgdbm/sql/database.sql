-- schemas: every schema with its owner, tables and size, or the one of that name
SELECT n.nspname AS name, pg_catalog.pg_get_userbyid(n.nspowner) AS owner,
       pg_catalog.count(c.oid) FILTER (WHERE c.relkind IN ('r', 'p', 'f')) AS tables,
       COALESCE(pg_catalog.sum(pg_catalog.pg_total_relation_size(c.oid))
                FILTER (WHERE c.relkind IN ('r', 'm')), 0)::bigint AS size_bytes
FROM pg_catalog.pg_namespace n
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
WHERE CASE WHEN $1::text IS NULL THEN n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
           ELSE n.nspname = $1 END
GROUP BY n.nspname, n.nspowner
ORDER BY n.nspname

-- relations: the tables and views of a schema, with the planner's estimate of their rows
SELECT c.relname AS name,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'f' THEN 'foreign table'
                      WHEN 'v' THEN 'view' ELSE 'materialized view' END AS kind,
       CASE WHEN c.relkind IN ('r', 'p', 'm') AND c.reltuples >= 0 THEN c.reltuples::bigint END AS estimated_rows,
       pg_catalog.pg_total_relation_size(c.oid) AS size_bytes,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid) AS indexes
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'f', 'v', 'm')
ORDER BY c.relname

-- modules: the modules in a history table, with the number of their migrations and the time of the last one
SELECT module_name AS module, pg_catalog.count(*) AS applied,
       pg_catalog.timezone('UTC', pg_catalog.max(applied_at)) AS last_applied_at
FROM {{history}}
GROUP BY module_name
ORDER BY module_name

-- information: the server, the database, and how many connections are open
SELECT pg_catalog.current_database() AS database,
       pg_catalog.current_setting('server_version') AS server_version,
       pg_catalog.pg_database_size(pg_catalog.current_database()) AS size_bytes,
       pg_catalog.pg_encoding_to_char(d.encoding) AS encoding,
       d.datcollate AS collation,
       pg_catalog.pg_get_userbyid(d.datdba) AS owner,
       current_user AS "user",
       pg_catalog.pg_is_in_recovery() AS in_recovery,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity
        WHERE backend_type = 'client backend') AS connections,
       pg_catalog.current_setting('max_connections')::integer AS max_connections
FROM pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database()

-- exists: whether there is a database of that name
SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)

-- read_only: whether the server or the session accepts no writes
SELECT pg_catalog.pg_is_in_recovery() OR pg_catalog.current_setting('transaction_read_only')::boolean

-- may_create_schemas: whether the user may create schemas in the database
SELECT pg_catalog.has_database_privilege(current_user, pg_catalog.current_database(), 'CREATE')

-- may_create_in: whether the user may create objects in a schema; no row if it does not exist
SELECT pg_catalog.has_schema_privilege(current_user, oid, 'CREATE') AS may_create,
       pg_catalog.has_schema_privilege(current_user, oid, 'USAGE') AS may_use,
       current_user::text AS "user"
FROM pg_catalog.pg_namespace
WHERE nspname = $1

-- backend: the process id of the backend; through a transaction pooler it differs from the announced one
SELECT pg_catalog.pg_backend_pid()

-- long_transactions: transactions of other sessions that are older than $1 seconds, oldest first
SELECT pid, usename AS "user", application_name, state,
       EXTRACT(epoch FROM pg_catalog.clock_timestamp() - xact_start)::float AS seconds
FROM pg_catalog.pg_stat_activity
WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid()
  AND xact_start < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1)
ORDER BY xact_start
