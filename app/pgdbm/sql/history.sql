-- Operators are qualified, as in runner.sql. The times of the history are UTC, whatever TimeZone is: the column has no
-- time zone, as 0.5.0 created it.

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

-- own: part of other statements: true, or an error where a view or a row security policy could run another user's
-- code as the connecting user. Evaluated once, before the first row is read.
(SELECT CASE WHEN c.relkind OPERATOR(pg_catalog.=) 'r'::pg_catalog."char" AND NOT pg_catalog.row_security_active(c.oid)
             THEN true
             ELSE pg_catalog.set_config('pgdbm.refused', 'pgdbm:not-our-table', true)::boolean END
 FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({{table_literal}})::pg_catalog.oid)

-- applied: the applied files, with the columns that decide what is pending. A file can insert rows, and change the
-- types of columns: the rows and the lengths that are read are limited.
SELECT pg_catalog.left(filename, 255) AS filename, pg_catalog.left(checksum, 64) AS checksum FROM {{history}}
WHERE {{own}} AND (module_name OPERATOR(pg_catalog.=) $1::pg_catalog.text OR module_name IS NULL)
LIMIT {{limit}}

-- rows: every row of a module, up to the same limit
SELECT id, pg_catalog.left(filename, 255) AS filename, pg_catalog.left(checksum, 64) AS checksum,
       pg_catalog.left(module_name, 100) AS module_name, pg_catalog.timezone('UTC', applied_at) AS applied_at,
       pg_catalog.left(applied_by, 100) AS applied_by, execution_time_ms
FROM {{history}}
WHERE {{own}} AND (module_name OPERATOR(pg_catalog.=) $1::pg_catalog.text OR module_name IS NULL)
ORDER BY id
LIMIT {{limit}}

-- page: the newest rows of a module before a given id
SELECT id, pg_catalog.left(filename, 255) AS filename, pg_catalog.left(checksum, 64) AS checksum,
       pg_catalog.left(module_name, 100) AS module_name, pg_catalog.timezone('UTC', applied_at) AS applied_at,
       pg_catalog.left(applied_by, 100) AS applied_by, execution_time_ms
FROM {{history}}
WHERE {{own}} AND (module_name OPERATOR(pg_catalog.=) $1::pg_catalog.text OR module_name IS NULL)
  AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC
LIMIT $3

-- newest: the newest rows of a module in the form of 0.5.0, whose times have no time zone
SELECT filename, module_name, applied_at, applied_by, execution_time_ms
FROM {{history}}
WHERE {{own}} AND (module_name OPERATOR(pg_catalog.=) $1::pg_catalog.text OR module_name IS NULL)
ORDER BY applied_at DESC, id DESC
LIMIT $2

-- times: how long some migrations took
SELECT filename, execution_time_ms FROM {{history}}
WHERE filename OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[])
  AND (module_name OPERATOR(pg_catalog.=) $2::pg_catalog.text OR module_name IS NULL)

-- record: a row for a migration that was applied outside a transaction
INSERT INTO {{history}} (filename, checksum, module_name, applied_at, execution_time_ms)
VALUES ($1, $2, $3, pg_catalog.timezone('UTC', pg_catalog.clock_timestamp()), $4)
ON CONFLICT (filename, module_name) DO UPDATE
SET checksum = EXCLUDED.checksum, applied_at = EXCLUDED.applied_at, applied_by = EXCLUDED.applied_by,
    execution_time_ms = EXCLUDED.execution_time_ms

-- mark: a row for a migration whose SQL was not run here
INSERT INTO {{history}} (filename, checksum, module_name, applied_at)
VALUES ($1, $2, $3, pg_catalog.timezone('UTC', pg_catalog.clock_timestamp()))

-- accept: new content of an applied migration
UPDATE {{history}} SET checksum = $2
WHERE filename OPERATOR(pg_catalog.=) $1::pg_catalog.text
  AND (module_name OPERATOR(pg_catalog.=) $3::pg_catalog.text OR module_name IS NULL)

-- rename: the new name of an applied migration whose content is unchanged
UPDATE {{history}} SET filename = $2
WHERE filename OPERATOR(pg_catalog.=) $1::pg_catalog.text
  AND (module_name OPERATOR(pg_catalog.=) $3::pg_catalog.text OR module_name IS NULL)

-- delete: delete the row of a migration; no SQL of the migration runs
DELETE FROM {{history}}
WHERE filename OPERATOR(pg_catalog.=) $1::pg_catalog.text AND module_name OPERATOR(pg_catalog.=) $2::pg_catalog.text

-- owner: who owns one of the engine's tables, if it exists: whether it is a plain table, and whether the module's role
-- is, or can become, its owner without being the connecting user
SELECT c.relkind = 'r' AS is_plain,
       pg_catalog.pg_get_userbyid(c.relowner) <> current_user
       AND pg_catalog.pg_has_role($2::name, c.relowner, 'MEMBER') AS is_of_role
FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)::oid

-- digests: digests of the rows of all modules, to find out later whether others have changed: of all rows, and of those
-- that are not files $2 of the module $1
SELECT pg_catalog.sum(one.digest)::pg_catalog.text AS total,
       (pg_catalog.sum(one.digest) FILTER (WHERE NOT one.is_own))::pg_catalog.text AS others
FROM (SELECT pg_catalog.hashtextextended(
                 pg_catalog.concat_ws(' ', id, module_name, checksum, EXTRACT(epoch FROM applied_at), filename), 0
             )::numeric AS digest,
             COALESCE(module_name OPERATOR(pg_catalog.=) $1::pg_catalog.text, true)
             AND filename OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.text[]) AS is_own
      FROM {{history}}
      WHERE {{own}}) one
