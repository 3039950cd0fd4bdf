-- columns: the columns of a table; no rows if it does not exist
SELECT a.attname::text
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f')
  AND a.attnum > 0 AND NOT a.attisdropped

-- schemas_with: the schemas that have a table with that name
SELECT n.nspname::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'f')
ORDER BY 1

-- is_there: whether a table exists; its name is quoted and qualified
SELECT pg_catalog.to_regclass($1) IS NOT NULL

-- flyway: the history of Flyway, in its order; its time is local time
SELECT version, description, type, script, checksum, installed_by, success, execution_time,
       installed_on AT TIME ZONE pg_catalog.current_setting('TimeZone') AS installed_on
FROM {{source}}
ORDER BY installed_rank

-- alembic: the heads of the revisions that Alembic has applied
SELECT version_num FROM {{source}} ORDER BY 1

-- dbmate: the versions that dbmate has applied
SELECT version FROM {{source}} ORDER BY 1

-- golang_migrate: the current version, which is all that golang-migrate stores
SELECT version, dirty FROM {{source}} LIMIT 1

-- goose: the versions whose last row says that they are applied, oldest first; its time is local time
SELECT version_id, tstamp AT TIME ZONE pg_catalog.current_setting('TimeZone') AS applied_at
FROM (SELECT DISTINCT ON (version_id) id, version_id, is_applied, tstamp FROM {{source}} ORDER BY version_id, id DESC) last
WHERE is_applied
ORDER BY id

-- yoyo: the migrations that yoyo has applied, oldest first
SELECT migration_id, applied_at_utc AT TIME ZONE 'UTC' AS applied_at
FROM {{source}}
ORDER BY applied_at_utc, migration_id

-- yoyo_users: the user that last applied each of yoyo's migrations, from its log
SELECT DISTINCT ON (migration_id) migration_id, username
FROM {{log}}
WHERE operation = 'apply'
ORDER BY migration_id, created_at_utc DESC

-- django: the migrations that Django has applied, oldest first
SELECT app, name, applied AS applied_at FROM {{source}} ORDER BY id

-- knex: the migrations that knex has applied, oldest first
SELECT name, migration_time AS applied_at FROM {{source}} ORDER BY id

-- node_pg_migrate: the migrations that node-pg-migrate has applied, oldest first; its time is local time
SELECT name, run_on AT TIME ZONE pg_catalog.current_setting('TimeZone') AS applied_at
FROM {{source}}
ORDER BY run_on, id

-- liquibase: the changesets of Liquibase, oldest first; its time is local time
SELECT id, author, filename, exectype,
       dateexecuted AT TIME ZONE pg_catalog.current_setting('TimeZone') AS applied_at
FROM {{source}}
ORDER BY orderexecuted, dateexecuted

-- prisma: the attempts of Prisma, oldest first
SELECT migration_name, checksum, finished_at, rolled_back_at,
       LEAST(1000 * EXTRACT(epoch FROM finished_at - started_at), 2147483647)::integer AS took_ms
FROM {{source}}
ORDER BY started_at

-- drizzle: the hashes of Drizzle's migrations, in the order in which they were generated and applied
SELECT hash FROM {{source}} ORDER BY created_at, id

-- supabase: the versions that Supabase has applied, with their statements
SELECT version, statements FROM {{source}} ORDER BY version

-- sqitch: the changes that Sqitch has deployed, oldest first
SELECT project, change, script_hash, committed_at, committer_name FROM {{source}} ORDER BY committed_at

-- tables_of_tools: the tables with one of these names, in any schema, with their columns
SELECT n.nspname::text AS schema, c.relname::text AS name,
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'f')
ORDER BY 1, 2

-- lock: take the lock until the end of the transaction, if it is free
SELECT pg_catalog.pg_try_advisory_xact_lock($1)

-- record: rows for the migrations of another tool; the column of pgdbm is UTC, and an unknown time becomes the time of
-- the import: now() and not clock_timestamp(), so that all rows of an import have the same time
INSERT INTO {{history}} (filename, checksum, module_name, applied_at, applied_by, execution_time_ms)
SELECT one.filename, one.checksum, $1,
       pg_catalog.timezone('UTC', COALESCE(one.applied_at, pg_catalog.now())),
       pg_catalog.left(one.applied_by, 100), one.execution_time_ms
FROM ROWS FROM (
    pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::timestamptz[]),
    pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::integer[])
) WITH ORDINALITY AS one (filename, checksum, applied_at, applied_by, execution_time_ms, place)
ORDER BY one.place
