-- Operators and types are qualified, as in runner.sql, where a file may have set search_path.

-- create: what happened besides success: attempts, statements outside a transaction, and manual decisions.
-- clock_timestamp() and not now(): each entry of a transaction has its own time.
CREATE TABLE IF NOT EXISTS {{journal}} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    module pg_catalog.text NOT NULL,
    filename pg_catalog.text NOT NULL,
    statement integer,
    event pg_catalog.text NOT NULL,
    statement_hash pg_catalog.text,
    attempt integer NOT NULL DEFAULT 1,
    sqlstate pg_catalog.text,
    message pg_catalog.text,
    session_state pg_catalog.jsonb,
    started_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ended_at pg_catalog.timestamptz,
    started_by pg_catalog.text NOT NULL DEFAULT current_user,
    pid integer NOT NULL DEFAULT pg_catalog.pg_backend_pid()
);
CREATE INDEX IF NOT EXISTS {{journal_index}} ON {{journal}} (module, filename, id)

-- record: an event that has already ended
INSERT INTO {{journal}} (module, filename, statement, event, statement_hash, attempt, sqlstate, message, ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, pg_catalog.clock_timestamp())

-- server: identifies the server since its last start; whether it was restarted within the last $1 seconds, or one of
-- its processes has crashed, after which it restarts the others and forgets its statistics
SELECT pg_catalog.pg_postmaster_start_time()::pg_catalog.text AS server,
       pg_catalog.pg_postmaster_start_time() > s.since AS restarted,
       COALESCE((SELECT b.stats_reset FROM pg_catalog.pg_stat_bgwriter b) > s.since, false) AS crashed
FROM (SELECT pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1)) AS s (since)

-- lost: a session ended by itself while a file was running
INSERT INTO {{journal}} (module, filename, statement, event, statement_hash, session_state, message, ended_at)
VALUES ($1, $2, $3, 'connection_lost', $4, pg_catalog.jsonb_build_object('server', $5::text), $6,
        pg_catalog.clock_timestamp())

-- lost_again: whether the last session of the file $2 that ended by itself did so at the same statement, on the same
-- server; $3 is that migration, or the migration that this down migration reverts
SELECT COALESCE((
    SELECT statement_hash = $4 AND session_state ->> 'server' = $5 FROM {{journal}}
    WHERE module = $1 AND (filename = $2 AND event = 'connection_lost'
                           OR filename IN ($2, $3) AND event IN ('finished', 'unmarked', 'reverted'))
    ORDER BY id DESC LIMIT 1), false)

-- begin: the start of a statement, before it runs
INSERT INTO {{journal}} (module, filename, statement, event, statement_hash, attempt, message)
VALUES ($1, $2, $3, 'started', $4, $5, $6) RETURNING id

-- end: the result of a statement
UPDATE {{journal}} SET event = $2, sqlstate = $3, message = $4, ended_at = pg_catalog.clock_timestamp()
WHERE id OPERATOR(pg_catalog.=) $1

-- end_with_session: as above, with what the statement left in the session
UPDATE {{journal}} SET event = $2, sqlstate = $3, message = $4, ended_at = pg_catalog.clock_timestamp(),
    session_state = {{session_state}}
WHERE id OPERATOR(pg_catalog.=) $1

-- end_in_transaction: the success of a statement, in the message and the transaction of the statement itself
UPDATE {{journal}} SET event = 'applied', ended_at = pg_catalog.clock_timestamp()
WHERE id OPERATOR(pg_catalog.=) {{id}}::bigint

-- end_in_transaction_with_session: as above, with what the statement left in the session
UPDATE {{journal}} SET event = 'applied', ended_at = pg_catalog.clock_timestamp(), session_state = {{session_state}}
WHERE id OPERATOR(pg_catalog.=) {{id}}::bigint

-- keep_session_state: what a statement that has ended left in the session
UPDATE {{journal}} SET session_state = {{session_state}} WHERE id OPERATOR(pg_catalog.=) $1

-- session_state: part of other statements: the settings of the session, and what ends with it
pg_catalog.jsonb_build_object(
    'settings'::pg_catalog.text,
    (SELECT pg_catalog.jsonb_object_agg(s.name, s.setting) FROM pg_catalog.pg_settings s
     WHERE s.source OPERATOR(pg_catalog.=) 'session'::pg_catalog.text),
    'objects'::pg_catalog.text,
    (SELECT pg_catalog.jsonb_agg(o.description) FROM (
         SELECT pg_catalog.concat('the temporary relation ', c.relname) FROM pg_catalog.pg_class c
         WHERE c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()
           AND c.relkind OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array('r,p,v,S', ',')::pg_catalog."char"[])
         UNION ALL
         SELECT pg_catalog.concat('the prepared statement ', p.name) FROM pg_catalog.pg_prepared_statements p
         WHERE p.from_sql
         UNION ALL
         SELECT pg_catalog.concat('the cursor ', c.name) FROM pg_catalog.pg_cursors c WHERE c.is_holdable
     ) AS o (description)))

-- restore_settings: the settings of an earlier session, as they were captured
SELECT pg_catalog.set_config(s.key, s.value, false) FROM pg_catalog.jsonb_each_text($1::jsonb) AS s (key, value)

-- statements: the last record of each statement of the file $2 since the file was last started from the beginning; $3
-- is that migration, or the migration that this down migration reverts
SELECT DISTINCT ON (statement) id, statement, event, statement_hash, attempt, sqlstate, message,
       session_state::text AS session_state
FROM {{journal}}
WHERE module = $1 AND filename = $2 AND statement_hash IS NOT NULL AND event <> 'connection_lost'
  AND id > COALESCE((SELECT pg_catalog.max(id) FROM {{journal}}
                     WHERE module = $1 AND filename IN ($2, $3) AND statement IS NULL
                       AND event IN ('finished', 'unmarked', 'reverted')), 0)
ORDER BY statement, id DESC

-- latest: the last event of every file of a module. The rows and lengths that are read are limited.
SELECT DISTINCT ON (filename) pg_catalog.left(filename, 255) AS filename, pg_catalog.left(event, 100) AS event
FROM {{journal}} WHERE module = $1 AND event <> 'connection_lost' ORDER BY filename, id DESC LIMIT 200000

-- entries: the newest entries of a module with ids below $3 (null: all)
SELECT id, pg_catalog.left(filename, 255) AS filename, statement, pg_catalog.left(event, 100) AS event, attempt,
       pg_catalog.left(sqlstate, 5) AS sqlstate, pg_catalog.left(message, 10000) AS message, started_at, ended_at,
       pg_catalog.left(started_by, 100) AS started_by
FROM {{journal}} WHERE module = $1 AND ($3::bigint IS NULL OR id < $3) ORDER BY id DESC LIMIT $2

-- index_state: an index by schema and name: its table, whether it is valid, and whether another session is building it
SELECT i.indisvalid AS valid, i.indrelid::pg_catalog.regclass::pg_catalog.text AS table_name,
       EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p
               WHERE p.index_relid = c.oid AND p.pid <> pg_catalog.pg_backend_pid()) AS being_built
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
WHERE n.nspname = $1 AND c.relname = $2

-- schema_of: the schema of the table that an unqualified name refers to in this session
SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass($1)

-- database_exists: whether there is a database of that name
SELECT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = $1)

-- partition: whether a DETACH CONCURRENTLY of a partition has started; no row unless the table is a partition
SELECT i.inhdetachpending AS pending FROM pg_catalog.pg_inherits i
WHERE i.inhparent = pg_catalog.to_regclass($1) AND i.inhrelid = pg_catalog.to_regclass($2)

-- relation_exists: whether a name refers to a relation in this session
SELECT pg_catalog.to_regclass($1) IS NOT NULL

-- reindex_leftovers: the indexes that an interrupted REINDEX CONCURRENTLY left behind: of an index or a table (and of
-- its partitions and its TOAST table), else of a schema, or of the database
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
