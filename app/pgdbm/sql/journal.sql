-- create: what happened besides success: attempts, statements outside a transaction, and what people decided
CREATE TABLE IF NOT EXISTS {{journal}} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    module text NOT NULL,
    filename text NOT NULL,
    statement integer,
    outcome text NOT NULL,
    statement_hash text,
    attempt integer NOT NULL DEFAULT 1,
    sqlstate text,
    message text,
    began_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    made_by text NOT NULL DEFAULT current_user,
    pid integer NOT NULL DEFAULT pg_backend_pid()
);
CREATE INDEX IF NOT EXISTS {{journal_index}} ON {{journal}} (module, filename, id)

-- note: something that is over when it is written
INSERT INTO {{journal}} (module, filename, statement, outcome, statement_hash, attempt, sqlstate, message, ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, pg_catalog.clock_timestamp())

-- begin: the intent to run a statement, before it runs
INSERT INTO {{journal}} (module, filename, statement, outcome, statement_hash, attempt)
VALUES ($1, $2, $3, 'begun', $4, $5) RETURNING id

-- end: what came of an intent
UPDATE {{journal}} SET outcome = $2, sqlstate = $3, message = $4, ended_at = pg_catalog.clock_timestamp() WHERE id = $1

-- end_in_transaction: the same in the message of the statement itself
UPDATE {{journal}} SET outcome = 'done', ended_at = pg_catalog.clock_timestamp() WHERE id = {{id}}

-- statements: the newest word on each statement of the file $2 since the file was last begun anew; $3 is the migration
-- that it is, or is the way back of
SELECT DISTINCT ON (statement) id, statement, outcome, statement_hash, attempt, sqlstate, message
FROM {{journal}}
WHERE module = $1 AND filename = $2 AND statement_hash IS NOT NULL
  AND id > COALESCE((SELECT max(id) FROM {{journal}} WHERE module = $1 AND filename IN ($2, $3) AND statement IS NULL
                     AND outcome IN ('finished', 'unmarked', 'reverted')), 0)
ORDER BY statement, id DESC

-- latest: the newest outcome of every file of a module
SELECT DISTINCT ON (filename) filename, outcome FROM {{journal}} WHERE module = $1 ORDER BY filename, id DESC

-- entries: the newest entries of a module
SELECT id, filename, statement, outcome, attempt, sqlstate, message, began_at, ended_at, made_by
FROM {{journal}} WHERE module = $1 ORDER BY id DESC LIMIT $2

-- index_state: an index by schema and name: does it exist, is it valid, is somebody building it
SELECT i.indisvalid AS valid, i.indrelid::regclass::text AS table_name,
       EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p
               WHERE p.index_relid = c.oid AND p.pid <> pg_catalog.pg_backend_pid()) AS being_built
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
WHERE n.nspname = $1 AND c.relname = $2

-- schema_of: the schema of the table that an unqualified name means in this session
SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass($1)

-- database_exists: whether there is a database of that name
SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)

-- partition: whether a table is a partition of another, and whether its detaching was begun
SELECT i.inhdetachpending AS pending FROM pg_catalog.pg_inherits i
WHERE i.inhparent = pg_catalog.to_regclass($1) AND i.inhrelid = pg_catalog.to_regclass($2)

-- relation_exists: whether a name means a table or an index in this session
SELECT pg_catalog.to_regclass($1) IS NOT NULL

-- reindex_leftovers: what a REINDEX CONCURRENTLY that was cut off left: of an index or a table (and of its partitions
-- and its TOAST table), else of a schema, or of everything
WITH meant AS (
    SELECT pg_catalog.to_regclass($1)::oid AS oid
    UNION SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1))
), concerned AS (
    SELECT r.oid, r.reltoastrelid FROM pg_catalog.pg_class r
    WHERE CASE WHEN $1::text IS NULL
               THEN $2::text IS NULL OR r.relnamespace::regnamespace::text = pg_catalog.quote_ident($2)
               ELSE r.oid IN (SELECT oid FROM meant) OR r.oid IN (SELECT i.indrelid FROM pg_catalog.pg_index i
                                                                  WHERE i.indexrelid IN (SELECT oid FROM meant)) END
)
SELECT n.nspname AS schema, c.relname AS name
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
  AND i.indrelid IN (SELECT oid FROM concerned UNION ALL SELECT reltoastrelid FROM concerned)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p
                  WHERE p.index_relid = c.oid AND p.pid <> pg_catalog.pg_backend_pid())
