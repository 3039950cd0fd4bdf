-- columns: the columns of a table; none where there is no such table
SELECT a.attname::text
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f')
  AND a.attnum > 0 AND NOT a.attisdropped

-- schemas_with: the schemas that have a table of that name
SELECT n.nspname::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'f')
ORDER BY 1

-- is_there: whether there is a table of that name, quoted and with its schema
SELECT pg_catalog.to_regclass($1) IS NOT NULL

-- flyway: what Flyway has done, in the order in which it did; its time is local time
SELECT version, description, type, script, checksum, installed_by, success, execution_time,
       installed_on AT TIME ZONE pg_catalog.current_setting('TimeZone') AS installed_on
FROM {{source}}
ORDER BY installed_rank

-- alembic: the revisions at the ends of what Alembic has applied
SELECT version_num FROM {{source}} ORDER BY 1

-- dbmate: the versions that dbmate has applied
SELECT version FROM {{source}} ORDER BY 1

-- golang_migrate: the version that golang-migrate is at, which is all that it keeps
SELECT version, dirty FROM {{source}} LIMIT 1

-- yoyo: what yoyo has applied, oldest first
SELECT migration_id, applied_at_utc AT TIME ZONE 'UTC' AS applied_at
FROM {{source}}
ORDER BY applied_at_utc, migration_id

-- yoyo_users: who applied each of yoyo's migrations last, from its log
SELECT DISTINCT ON (migration_id) migration_id, username
FROM {{log}}
WHERE operation = 'apply'
ORDER BY migration_id, created_at_utc DESC

-- lock: the lock until the transaction ends, if it is free
SELECT pg_catalog.pg_try_advisory_xact_lock($1)

-- record: rows for what another tool has applied; our column is local time, and a time that is not known is now
INSERT INTO {{history}} (filename, checksum, module_name, applied_at, applied_by, execution_time_ms)
SELECT one.filename, one.checksum, $1,
       COALESCE(one.applied_at, pg_catalog.now())::timestamp,
       pg_catalog.left(one.applied_by, 100), one.execution_time_ms
FROM ROWS FROM (
    pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::timestamptz[]),
    pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::integer[])
) WITH ORDINALITY AS one (filename, checksum, applied_at, applied_by, execution_time_ms, place)
ORDER BY one.place
