-- Operators and types are qualified, as in runner.sql, but not those that compare the keys of an author's table.

-- create: the progress of each backfill, and whether it is paused. "position" and "last_key" are keys: arrays of texts.
CREATE TABLE IF NOT EXISTS {{backfills}} (
    module pg_catalog.text NOT NULL,
    filename pg_catalog.text NOT NULL,
    table_name pg_catalog.text,
    key pg_catalog.text,
    position pg_catalog.jsonb,
    last_key pg_catalog.jsonb,
    total_rows bigint,
    walked_rows bigint NOT NULL DEFAULT 0,
    changed_rows bigint NOT NULL DEFAULT 0,
    batches bigint NOT NULL DEFAULT 0,
    batch_rows integer,
    rows_per_s double precision,
    paused boolean NOT NULL DEFAULT false,
    rate integer,
    waiting_for pg_catalog.text,
    started_at pg_catalog.timestamptz,
    updated_at pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    ended_at pg_catalog.timestamptz,
    PRIMARY KEY (module, filename)
)

-- start: the row of a backfill; reset to the beginning if it had ended and its file has to run again. The table, the key
-- and "last_key" are kept once a batch was processed: the walk ends at that key, so rows that are inserted after it are
-- not processed. With the row, what "next" returns before a first batch, in the same round trip
WITH b AS (
    INSERT INTO {{backfills}} AS b (module, filename, table_name, key, batch_rows, total_rows, last_key, started_at)
    SELECT $1, $2, $3, $4, $5, $6, ({{last_key}}), pg_catalog.clock_timestamp()
    ON CONFLICT (module, filename) DO UPDATE
    SET table_name = CASE WHEN b.position IS NULL OR b.ended_at IS NOT NULL THEN EXCLUDED.table_name
                          ELSE b.table_name END,
        key = CASE WHEN b.position IS NULL OR b.ended_at IS NOT NULL THEN EXCLUDED.key ELSE b.key END,
        last_key = CASE WHEN b.position IS NULL OR b.ended_at IS NOT NULL THEN EXCLUDED.last_key ELSE b.last_key END,
        started_at = CASE WHEN b.ended_at IS NULL THEN COALESCE(b.started_at, EXCLUDED.started_at)
                          ELSE EXCLUDED.started_at END,
        position = CASE WHEN b.ended_at IS NULL THEN b.position END,
        walked_rows = CASE WHEN b.ended_at IS NULL THEN b.walked_rows ELSE 0 END,
        changed_rows = CASE WHEN b.ended_at IS NULL THEN b.changed_rows ELSE 0 END,
        batches = CASE WHEN b.ended_at IS NULL THEN b.batches ELSE 0 END,
        batch_rows = CASE WHEN b.ended_at IS NULL THEN COALESCE(b.batch_rows, EXCLUDED.batch_rows)
                          ELSE EXCLUDED.batch_rows END,
        total_rows = EXCLUDED.total_rows, waiting_for = NULL, ended_at = NULL, updated_at = EXCLUDED.updated_at
    RETURNING table_name, key, position, last_key, total_rows, walked_rows, changed_rows, batches, batch_rows, paused, rate
)
SELECT b.table_name, b.key, b.position::text AS position, b.last_key::text AS last_key, b.total_rows,
       b.walked_rows AS processed_rows, b.changed_rows, b.batches, b.batch_rows, b.paused, b.rate, now.*,
       0 AS have_waited, batch.*
FROM b, ({{conditions}}) AS now, LATERAL ({{first_batch}}) AS batch

-- last_key: part of other statements: the last key of the table
SELECT {{key}} FROM {{table}} AS t ORDER BY {{descending}} LIMIT 1

-- both_keys: the first and the last key of the table; null if it has no rows
SELECT (SELECT {{key}}::text FROM {{table}} AS t ORDER BY {{order}} LIMIT 1) AS first, ({{last_key}})::text AS last

-- next_batch: part of other statements: the first and the last key of a batch of some rows at most, up to the last key
-- of the walk. Skipping to the last row of a whole batch takes a fifth of the time of collecting its keys. The last batch
-- ends at the last key, and only its rows are counted; the limit makes the server read these in index order, too. Only
-- keys that are found become JSON
WITH whole AS MATERIALIZED (
    SELECT (SELECT {{key_of_batch}}::text
            FROM (SELECT {{columns}} FROM {{table}} AS t WHERE {{inside}} ORDER BY {{order}}
                  OFFSET {{rows}} OPERATOR(pg_catalog.-) 1::bigint LIMIT 1) AS batch) AS last
)
SELECT (SELECT {{key_of_batch}}::text
        FROM (SELECT {{columns}} FROM {{table}} AS t WHERE {{inside}} ORDER BY {{order}}
              LIMIT 1) AS batch) AS first,
       COALESCE(whole.last, ({{last}})::text) AS last,
       CASE WHEN whole.last IS NOT NULL THEN {{rows}}
            ELSE (SELECT pg_catalog.count(*)
                  FROM (SELECT FROM {{table}} AS t WHERE {{inside}} ORDER BY {{order}}
                        LIMIT {{rows}}) AS rest) END AS rows
FROM whole

-- counted: the statement of a batch, in the same message as all that follows it, which needs the number of its rows
WITH pgdbm_changed AS (
{{statement}}
{{returning}})
SELECT pg_catalog.set_config('pgdbm.changed', pg_catalog.count(*)::pg_catalog.text, true) FROM pgdbm_changed

-- changed: part of "move": the number of rows that "counted" has changed
pg_catalog.current_setting('pgdbm.changed')

-- move: the end of a batch, in its transaction; an error if another runner has processed a batch since
WITH moved AS (
    UPDATE {{backfills}}
    SET position = {{position}}::pg_catalog.jsonb,
        walked_rows = walked_rows OPERATOR(pg_catalog.+) {{rows}}::bigint,
        changed_rows = changed_rows OPERATOR(pg_catalog.+) {{changed}}::bigint,
        batches = batches OPERATOR(pg_catalog.+) 1::bigint, batch_rows = {{rows}}, rows_per_s = {{rows_per_s}},
        waiting_for = NULL, updated_at = pg_catalog.clock_timestamp()
    WHERE module OPERATOR(pg_catalog.=) {{module}}::pg_catalog.text
      AND filename OPERATOR(pg_catalog.=) {{filename}}::pg_catalog.text
      AND batches OPERATOR(pg_catalog.=) {{batches}}::bigint AND ended_at IS NULL
    RETURNING batches
)
SELECT CASE WHEN EXISTS (SELECT FROM moved) THEN {{waiters}}
            ELSE pg_catalog.set_config('pgdbm.refused', 'pgdbm:lock-held', true)::integer::pg_catalog.text END

-- waiters: part of "move": keeps for "next" how many sessions wait for rows of this transaction, as long as they do
pg_catalog.set_config('pgdbm.waiters', (
    SELECT pg_catalog.count(*)::pg_catalog.text FROM pg_catalog.pg_lock_status() AS w
    WHERE NOT w.granted AND w.transactionid OPERATOR(pg_catalog.=) ANY (ARRAY(
        SELECT own.transactionid FROM pg_catalog.pg_lock_status() AS own
        WHERE own.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND own.granted))), false)

-- next: before a batch: whether the backfill is paused or limited, whether the database is busy, what the batch before
-- has changed, how many sessions have waited for its rows, and the next batch, in one round trip
SELECT b.paused, b.rate, now.*, b.changed_rows,
       COALESCE(NULLIF(pg_catalog.current_setting('pgdbm.waiters', true), ''), '0')::bigint AS have_waited, batch.*
FROM {{backfills}} AS b, ({{conditions}}) AS now, ({{next_batch}}) AS batch
WHERE b.module OPERATOR(pg_catalog.=) $4::pg_catalog.text AND b.filename OPERATOR(pg_catalog.=) $5::pg_catalog.text

-- read: while a backfill waits, whether it is paused or limited, and whether the database is busy
SELECT b.paused, b.rate, now.* FROM {{backfills}} AS b, ({{conditions}}) AS now
WHERE b.module OPERATOR(pg_catalog.=) $1::pg_catalog.text AND b.filename OPERATOR(pg_catalog.=) $2::pg_catalog.text

-- conditions: part of other statements: the lag of the standbys, and whether another session works on the table, or
-- waits for a lock on it. What is hidden from this user is counted.
SELECT standbys.*, locks.*
FROM (SELECT pg_catalog.max(EXTRACT(epoch FROM s.replay_lag)) FILTER (WHERE s.replay_lsn IS NOT NULL)::float AS lag_s,
             pg_catalog.max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.replay_lsn))::bigint
                 AS lag_bytes,
             pg_catalog.max(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0'::pg_catalog.pg_lsn))
                 FILTER (WHERE s.replay_lsn IS NOT NULL)::bigint AS wal_position,
             pg_catalog.count(*) FILTER (WHERE s.state IS NULL) AS hidden_standbys
      FROM pg_catalog.pg_stat_get_wal_senders() AS s) AS standbys,
     (SELECT pg_catalog.count(*) FILTER (
                 WHERE l.granted AND l.mode OPERATOR(pg_catalog.=) 'ShareUpdateExclusiveLock'::pg_catalog.text
                   AND l.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()
                   AND (SELECT COALESCE(a.backend_type OPERATOR(pg_catalog.=) 'autovacuum worker'::pg_catalog.text, true)
                        FROM pg_catalog.pg_stat_get_activity(l.pid) AS a)) AS vacuums,
             pg_catalog.count(*) FILTER (
                 WHERE NOT l.granted
                   AND l.locktype OPERATOR(pg_catalog.=) ANY (pg_catalog.string_to_array('relation,tuple', ','))) AS waiters
      FROM pg_catalog.pg_lock_status() AS l
      WHERE l.relation OPERATOR(pg_catalog.=) {{oid}}::pg_catalog.oid
        AND l.database OPERATOR(pg_catalog.=) {{database}}::pg_catalog.oid) AS locks

-- wait: why a backfill waits; null when it continues
UPDATE {{backfills}} SET waiting_for = $3, updated_at = pg_catalog.clock_timestamp()
WHERE module = $1 AND filename = $2

-- end: record the end of the backfill, in the transaction of the history row
UPDATE {{backfills}} SET ended_at = pg_catalog.clock_timestamp(), updated_at = pg_catalog.clock_timestamp(),
    waiting_for = NULL, paused = false, rows_per_s = COALESCE($3, rows_per_s)
WHERE module = $1 AND filename = $2

-- pause: pause a backfill, even before it has started
INSERT INTO {{backfills}} AS b (module, filename, paused, rate) VALUES ($1, $2, COALESCE($3::boolean, false), $4)
ON CONFLICT (module, filename) DO UPDATE
SET paused = COALESCE($3::boolean, b.paused), rate = COALESCE($4, b.rate)
WHERE b.ended_at IS NULL
RETURNING filename

-- list: the backfills of a module
SELECT filename, table_name, key, position::text AS position, total_rows, walked_rows AS processed_rows, changed_rows,
       batches, batch_rows, rows_per_s, paused, rate, waiting_for, started_at, updated_at, ended_at
FROM {{backfills}} WHERE module = $1 ORDER BY filename LIMIT 10000

-- changed_rows: how many rows a backfill has changed
SELECT changed_rows FROM {{backfills}} WHERE module = $1 AND filename = $2

-- table: the table that a backfill walks: whether it can be walked, and an estimate of its rows; no row if it does not
-- exist
SELECT c.oid, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) AS database,
       c.relkind::text AS kind, c.relhassubclass AND c.relkind <> 'p' AS has_children,
       (SELECT pg_catalog.sum(GREATEST(l.reltuples, 0))::bigint
        FROM pg_catalog.pg_partition_tree(c.oid) p JOIN pg_catalog.pg_class l ON l.oid = p.relid
        WHERE p.isleaf) AS partition_rows,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS table_rows
FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)::oid

-- columns: those of a table, with their types
SELECT pg_catalog.quote_ident(a.attname) AS name, a.attname AS plain_name, a.attnotnull AS not_null,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type
FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped

-- unique_indexes: the columns of each index that can be walked in the order of its key: unique, valid, complete, and
-- with the default sort order of the columns
SELECT i.indexrelid::pg_catalog.regclass::text AS name,
       ARRAY(SELECT pg_catalog.pg_get_indexdef(i.indexrelid, k.n, false)
             FROM pg_catalog.generate_series(1, i.indnkeyatts) AS k (n) ORDER BY k.n)::text[] AS columns
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indisready AND i.indimmediate AND m.amname = 'btree'
  AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT EXISTS (
      SELECT FROM pg_catalog.generate_series(0, i.indnkeyatts - 1) AS k (n)
      JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n]
      JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[k.n]
      WHERE i.indoption[k.n] <> i.indoption[0] OR i.indcollation[k.n] <> a.attcollation OR NOT o.opcdefault)

-- begin: what precedes the statement in the message of a batch. A crash of the server loses the rows and the position
-- of the last batches together, so no batch has to wait for the disk
BEGIN;
SET LOCAL synchronous_commit = off{{settings}}

-- no_key: part of other statements: a null with the type of a column, which the planner does not know to be one
(SELECT {{column}} FROM {{table}} LIMIT 0)
