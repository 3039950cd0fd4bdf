-- create: the history table as every release has had it; a row means "applied, completely"
CREATE TABLE IF NOT EXISTS {{history}} (
    id serial PRIMARY KEY,
    filename varchar(255) NOT NULL,
    checksum varchar(64) NOT NULL,
    module_name varchar(100),
    applied_at timestamp NOT NULL DEFAULT current_timestamp,
    applied_by varchar(100) DEFAULT current_user,
    execution_time_ms integer,
    UNIQUE (filename, module_name)
)

-- applied: what is applied, as little of it as deciding what is pending takes
SELECT filename, checksum FROM {{history}} WHERE module_name = $1 OR module_name IS NULL

-- rows: every row of a module, with its time in UTC
SELECT id, filename, checksum, module_name,
       applied_at AT TIME ZONE pg_catalog.current_setting('TimeZone') AS applied_at,
       applied_by, execution_time_ms
FROM {{history}}
WHERE module_name = $1 OR module_name IS NULL
ORDER BY id

-- page: the newest rows of a module before a given id
SELECT id, filename, checksum, module_name,
       applied_at AT TIME ZONE pg_catalog.current_setting('TimeZone') AS applied_at,
       applied_by, execution_time_ms
FROM {{history}}
WHERE (module_name = $1 OR module_name IS NULL) AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3

-- newest: the newest rows of a module as 0.5.0 gave them, with the server's local time
SELECT filename, module_name, applied_at, applied_by, execution_time_ms
FROM {{history}}
WHERE module_name = $1 OR module_name IS NULL
ORDER BY applied_at DESC, id DESC
LIMIT $2

-- times: how long some migrations took
SELECT filename, execution_time_ms FROM {{history}}
WHERE filename = ANY ($1::text[]) AND (module_name = $2 OR module_name IS NULL)

-- record: a row for a migration that was applied statement by statement outside a transaction
INSERT INTO {{history}} (filename, checksum, module_name, execution_time_ms) VALUES ($1, $2, $3, $4)
ON CONFLICT (filename, module_name) DO UPDATE
SET checksum = EXCLUDED.checksum, applied_at = EXCLUDED.applied_at, applied_by = EXCLUDED.applied_by,
    execution_time_ms = EXCLUDED.execution_time_ms

-- mark: a row for a migration whose SQL did not run here
INSERT INTO {{history}} (filename, checksum, module_name) VALUES ($1, $2, $3)

-- accept: another content of a migration that is applied
UPDATE {{history}} SET checksum = $2 WHERE filename = $1 AND (module_name = $3 OR module_name IS NULL)

-- forget: take a row out again; no SQL of the migration runs
DELETE FROM {{history}} WHERE filename = $1 AND module_name = $2
