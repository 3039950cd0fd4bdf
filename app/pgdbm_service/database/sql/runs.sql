-- create: insert a run, its schemas, its idempotency key and its first events; no row if one with its digest is active
-- It waits for $17 approvals. $14 and $16 are the plan that it is bound to, and the plan in each schema.
WITH run AS (
    INSERT INTO {{tables.runs}} (id, module, options, digest, bundle, created_by, request_id, retry_of, traceparent,
                                 plan, approvals, approvals_needed, status, events)
    VALUES ($1, $2::text, $3::jsonb, $4, $5, $6::text, $7, $8, $13, $14::text, $15::jsonb, $17::integer,
            CASE WHEN $17::integer = 0 THEN 'queued' ELSE 'waiting_for_approval' END,
            CASE WHEN $17::integer = 0 THEN 1 ELSE 2 END)
    ON CONFLICT DO NOTHING
    RETURNING id
), schemas AS (
    INSERT INTO {{tables.run_schemas}} (run, schema, position, chunk, plan)
    SELECT run.id, given.schema, given.position, given.chunk, given.plan
    FROM run,
         ROWS FROM (pg_catalog.unnest($9::text[]), pg_catalog.unnest($10::text[]::integer[]),
                    pg_catalog.unnest($16::text[]))
             WITH ORDINALITY AS given (schema, chunk, plan, position)
), key AS (
    INSERT INTO {{tables.run_keys}} (principal, key, request, run)
    SELECT $6::text, $11::text, $12::text, run.id FROM run WHERE $11::text IS NOT NULL
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, 1, 'run_queued',
           pg_catalog.jsonb_build_object('module', $2::text, 'schema_count', pg_catalog.cardinality($9::text[]))
    FROM run
  UNION ALL
    SELECT run.id, 2, 'waiting_for_approval',
           pg_catalog.jsonb_build_object('plan', $14::text, 'required_count', $17::integer, 'approval_count', 0)
    FROM run WHERE $17::integer > 0
)
SELECT id, pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- active: the run with this digest that has not ended
SELECT id FROM {{tables.runs}} WHERE module = $1 AND digest = $2 AND ended_at IS NULL

-- has_active: whether there are runs that have not ended
SELECT EXISTS (SELECT FROM {{tables.runs}} WHERE status IN ('queued', 'held', 'running'))

-- store_key: map an idempotency key to a run that another request created
INSERT INTO {{tables.run_keys}} (principal, key, request, run) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- find_key: the run of an idempotency key, and the digest of the request that it was sent with
SELECT k.run, k.request, r.module, r.bundle, r.ended_at IS NOT NULL AS has_ended,
       (r.problem ->> 'status')::integer AS http_status
FROM {{tables.run_keys}} k JOIN {{tables.runs}} r ON r.id = k.run
WHERE k.principal = $1 AND k.key = $2

-- delete_key: delete an idempotency key, unless its run has changed
DELETE FROM {{tables.run_keys}} WHERE principal = $1 AND key = $2 AND run = $3

-- is_unstarted: whether a run has not started
SELECT started_at IS NULL AND cancel_requested_at IS NULL AS waits FROM {{tables.runs}}
WHERE id = $1 AND ended_at IS NULL

-- take: a run to process, unless it has ended, with the freeze that applies to it; and the schemas of its chunk $2 that
-- have not ended, or that may not be in the summaries yet. A replica that was seen $3 seconds ago owns those that it is
-- working on.
SELECT r.id, r.module, r.options, r.bundle, r.created_by, r.traceparent, r.cancel_requested_at IS NOT NULL AS cancelled,
       (SELECT pg_catalog.count(*) FROM {{tables.run_schemas}} WHERE run = $1) AS schema_count,
       r.started_at IS NOT NULL AS is_started, r.hold, r.plan, r.approvals, r.approvals_needed,
       r.break_glass IS NOT NULL AS is_free,
       (SELECT pg_catalog.count(*) FROM {{tables.run_approvals}} a WHERE a.run = r.id) AS approvals_given,
       (SELECT pg_catalog.to_jsonb(f) - 'pattern' FROM {{tables.freezes}} f
        WHERE r.module LIKE f.pattern AND (f.until IS NULL OR f.until > pg_catalog.now())
        ORDER BY f.until DESC NULLS FIRST LIMIT 1) AS freeze,
       (SELECT pg_catalog.jsonb_agg(
                   pg_catalog.jsonb_build_array(
                       s.schema, s.replica, s.status NOT IN ('queued', 'running'), s.status = 'running',
                       COALESCE(s.status = 'running'
                                AND p.seen_at > pg_catalog.now() - pg_catalog.make_interval(secs => $3), false))
                   ORDER BY s.position)
        FROM {{tables.run_schemas}} s LEFT JOIN {{tables.replicas}} p ON p.id = s.replica
        WHERE s.run = r.id AND s.chunk = $2
          AND (s.status IN ('queued', 'running') OR s.attempts > 0 AND NOT s.summarized)) AS unfinished
FROM {{tables.runs}} r WHERE r.id = $1 AND r.status IN ('queued', 'held', 'running')

-- hold: keep a run that has not started from starting, for the reason $2; no row if it is already held for that reason
WITH run AS (
    UPDATE {{tables.runs}} SET status = 'held', hold = $2::jsonb, events = events + 1
    WHERE id = $1 AND status IN ('queued', 'held') AND started_at IS NULL AND hold IS DISTINCT FROM $2::jsonb
    RETURNING id, events
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data) SELECT id, events, 'held', $2::jsonb FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- release: a run is no longer held
WITH run AS (
    UPDATE {{tables.runs}} SET status = 'queued', hold = NULL, events = events + 1
    WHERE id = $1 AND status = 'held'
    RETURNING id, events
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data) SELECT id, events, 'released', '{}' FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- start_schema: begin an attempt at a schema; no row if the schema or the run has ended, or was requested to be
-- cancelled. $4 are the pending files, if they are known before the first attempt, and $5 is its progress then
WITH run AS (
    -- The lock on the run's row is held until the commit, so event numbers are in commit order.
    UPDATE {{tables.runs}}
    SET status = 'running', started_at = COALESCE(started_at, pg_catalog.now()), replica = $3, events = events + 1,
        attempts = GREATEST(attempts, 1 + (SELECT s.attempts FROM {{tables.run_schemas}} s
                                           WHERE s.run = $1 AND s.schema = $2))
    WHERE id = $1 AND status IN ('queued', 'running') AND cancel_requested_at IS NULL
      AND EXISTS (SELECT FROM {{tables.run_schemas}}
                  WHERE run = $1 AND schema = $2 AND status IN ('queued', 'running'))
      -- A freeze may have been created since the run was taken.
      AND (started_at IS NOT NULL OR break_glass IS NOT NULL OR NOT EXISTS (
          SELECT FROM {{tables.freezes}} f
          WHERE module LIKE f.pattern AND (f.until IS NULL OR f.until > pg_catalog.now())))
    RETURNING id, events
), before AS (
    -- The file that an attempt had reached when its replica died.
    SELECT progress ->> 'filename' AS filename FROM {{tables.run_schemas}} WHERE run = $1 AND schema = $2
), attempt AS (
    UPDATE {{tables.run_schemas}} s
    SET deaths = CASE WHEN s.status = 'running' THEN s.deaths + 1 ELSE s.deaths END,
        status = 'running', attempts = attempts + 1, replica = $3, backend_pid = NULL, problem = NULL,
        progress = CASE WHEN s.attempts = 0 THEN $5::jsonb END,
        pending = CASE WHEN s.attempts = 0 THEN $4::text[] ELSE s.pending END,
        started_at = COALESCE(started_at, pg_catalog.now())
    FROM run
    WHERE s.run = run.id AND s.schema = $2 AND s.status IN ('queued', 'running')
    RETURNING s.attempts, s.pending, s.deaths, s.plan
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'schema_started',
           pg_catalog.jsonb_build_object('schema', $2::text, 'attempt', attempt.attempts, 'replica', $3::uuid)
    FROM run, attempt
)
SELECT attempt.attempts, attempt.pending, attempt.deaths, attempt.plan, before.filename,
       pg_catalog.pg_notify('pgdbm_service_events', run.id::text)
FROM run, attempt, before

-- record_progress: write the progress and the events of an attempt; whether the run should be cancelled
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + pg_catalog.cardinality($4::text[])
    WHERE id = $1 AND status = 'running'
    RETURNING id, events, cancel_requested_at IS NOT NULL AS cancelled
), attempt AS (
    UPDATE {{tables.run_schemas}} s
    SET progress = $6::jsonb, backend_pid = $7, pending = COALESCE(s.pending, $8::text[]),
        deaths = CASE WHEN ($6::jsonb ->> 'applied_count')::integer > 0 OR ($6::jsonb ->> 'rows')::bigint > 0
                      THEN 0 ELSE s.deaths END
    FROM run
    WHERE s.run = run.id AND s.schema = $2 AND s.attempts = $3 AND s.status = 'running'
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events - pg_catalog.cardinality($4::text[]) + new.position, new.kind,
           pg_catalog.jsonb_build_object('schema', $2::text) || new.data
    FROM run,
         ROWS FROM (pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]::jsonb[]))
             WITH ORDINALITY AS new (kind, data, position)
)
SELECT cancelled,
       CASE WHEN pg_catalog.cardinality($4::text[]) > 0 THEN pg_catalog.pg_notify('pgdbm_service_events', id::text) END
FROM run

-- complete_schema: a schema is migrated, after the events $8 with the data $9. Even an attempt that was taken over may
-- do this: it has read the history
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + pg_catalog.cardinality($8::text[]) + 1
    WHERE id = $1 AND status IN ('queued', 'running')
    RETURNING id, events
), done AS (
    UPDATE {{tables.run_schemas}} s
    SET status = 'succeeded', backend_pid = NULL, progress = NULL, problem = NULL, ended_at = pg_catalog.now(),
        skipped = $5, total = $6, total_time_ms = $7
    FROM run
    WHERE s.run = run.id AND s.schema = $2 AND s.status <> 'succeeded'
), steps AS (
    INSERT INTO {{tables.run_steps}} (run, schema, filename, module, position, execution_time_ms)
    SELECT $1, $2, step.filename, r.module, step.position, step.took
    FROM {{tables.runs}} r,
         ROWS FROM (pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]::integer[]))
             WITH ORDINALITY AS step (filename, took, position)
    WHERE r.id = $1
    ON CONFLICT DO NOTHING
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'schema_ended',
           pg_catalog.jsonb_build_object('schema', $2::text, 'status', 'succeeded',
                                         'applied_count', pg_catalog.cardinality($3::text[]))
    FROM run
  UNION ALL
    SELECT run.id, run.events - pg_catalog.cardinality($8::text[]) - 1 + last.position, last.kind,
           pg_catalog.jsonb_build_object('schema', $2::text) || last.data
    FROM run,
         ROWS FROM (pg_catalog.unnest($8::text[]), pg_catalog.unnest($9::text[]::jsonb[]))
             WITH ORDINALITY AS last (kind, data, position)
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- fail_schema: an attempt failed or was cancelled. Only the newest attempt may record it: others were taken over
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running')
      AND EXISTS (SELECT FROM {{tables.run_schemas}}
                  WHERE run = $1 AND schema = $2 AND attempts = $3 AND status = 'running')
    RETURNING id, events
), failed AS (
    UPDATE {{tables.run_schemas}} s
    SET status = $4, backend_pid = NULL, problem = $5::jsonb, ended_at = pg_catalog.now()
    FROM run
    WHERE s.run = run.id AND s.schema = $2
), others AS (
    UPDATE {{tables.run_schemas}} s SET status = 'not_reached'
    FROM run
    WHERE s.run = run.id AND s.schema <> $2 AND s.status = 'queued' AND $8::boolean
), steps AS (
    INSERT INTO {{tables.run_steps}} (run, schema, filename, module, position, execution_time_ms)
    SELECT $1, $2, step.filename, r.module, step.position, step.took
    FROM {{tables.runs}} r,
         ROWS FROM (pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]::integer[]))
             WITH ORDINALITY AS step (filename, took, position)
    WHERE r.id = $1
    ON CONFLICT DO NOTHING
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'schema_ended',
           pg_catalog.jsonb_build_object('schema', $2::text, 'status', $4::text, 'problem', $5::jsonb)
    FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- requeue: hand the schemas of a chunk that this replica is working on to any replica
WITH released AS (
    UPDATE {{tables.run_schemas}}
    SET status = 'queued', replica = NULL, backend_pid = NULL, progress = NULL
    WHERE run = $1 AND chunk = $2 AND replica = $3 AND status = 'running'
    RETURNING schema
), run AS (
    UPDATE {{tables.runs}} r
    SET events = events + 1,
        -- Both parts see the rows as they were before the statement.
        status = CASE WHEN EXISTS (SELECT FROM {{tables.run_schemas}} s
                                   WHERE s.run = $1 AND s.status = 'running' AND s.schema NOT IN (TABLE released))
                      THEN 'running' ELSE 'queued' END
    WHERE r.id = $1 AND r.status IN ('queued', 'running')
    RETURNING r.id, r.events
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'requeued', pg_catalog.jsonb_build_object('reason', $4::text, 'replica', $3::uuid)
    FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- abandon: a chunk cannot be processed: fail its schemas, start no others
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + 1
    WHERE id = $1 AND ended_at IS NULL
    RETURNING id, events
), failed AS (
    UPDATE {{tables.run_schemas}} s
    SET status = 'failed', backend_pid = NULL, problem = $3::jsonb, ended_at = pg_catalog.now()
    FROM run
    WHERE s.run = run.id AND s.chunk = $2 AND s.status IN ('queued', 'running')
), others AS (
    UPDATE {{tables.run_schemas}} s SET status = 'not_reached'
    FROM run
    WHERE s.run = run.id AND s.chunk <> $2 AND s.status = 'queued'
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'abandoned', pg_catalog.jsonb_build_object('problem', $3::jsonb) FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- cancel_chunk: in a cancelled run, cancel the schemas of a chunk that no live replica is working on
UPDATE {{tables.run_schemas}} s SET status = 'cancelled', backend_pid = NULL, ended_at = pg_catalog.now()
WHERE s.run = $1 AND s.chunk = $2
  AND (s.status = 'queued'
       OR s.status = 'running' AND NOT EXISTS (
           SELECT FROM {{tables.replicas}} r
           WHERE r.id = s.replica AND r.seen_at > pg_catalog.now() - pg_catalog.make_interval(secs => $3)))

-- release_chunks: once the canary schemas have succeeded: the chunks to put into the queue. Returns them once
WITH run AS (
    UPDATE {{tables.runs}} SET canary_passed = true
    WHERE id = $1 AND canary_passed IS NULL AND status IN ('queued', 'running') AND cancel_requested_at IS NULL
      AND EXISTS (SELECT FROM {{tables.run_schemas}} WHERE run = $1 AND chunk = 0)
      AND NOT EXISTS (SELECT FROM {{tables.run_schemas}} WHERE run = $1 AND chunk = 0 AND status <> 'succeeded')
    RETURNING id
)
SELECT DISTINCT s.chunk FROM {{tables.run_schemas}} s, run
WHERE s.run = run.id AND s.chunk > 0 AND s.status = 'queued'
ORDER BY s.chunk

-- mark_summarized: record that the summaries show how the schemas of a chunk ended
WITH run AS (
    -- If two chunks end at the same time, the next statement sees what the other one wrote.
    SELECT id FROM {{tables.runs}} WHERE id = $1 FOR UPDATE
)
UPDATE {{tables.run_schemas}} s SET summarized = true
FROM run
WHERE s.run = run.id AND s.chunk = $2 AND s.attempts > 0 AND NOT s.summarized
  AND s.status NOT IN ('queued', 'running')

-- finish: end a run whose schemas have all ended; returns its status, or no row
WITH counted AS (
    SELECT pg_catalog.count(*) FILTER (
               WHERE status IN ('queued', 'running')
                  -- GET /modules must not lag behind the end of a run.
                  OR attempts > 0 AND NOT summarized) AS unfinished,
           pg_catalog.count(*) FILTER (WHERE status = 'failed') AS failed,
           pg_catalog.count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
           COALESCE(pg_catalog.sum(skipped), 0) AS skipped, COALESCE(pg_catalog.sum(total), 0) AS total,
           pg_catalog.jsonb_build_object(
               'succeeded', pg_catalog.count(*) FILTER (WHERE status = 'succeeded'),
               'failed', pg_catalog.count(*) FILTER (WHERE status = 'failed'),
               'cancelled', pg_catalog.count(*) FILTER (WHERE status = 'cancelled'),
               'not_reached', pg_catalog.count(*) FILTER (WHERE status = 'not_reached')) AS schema_counts,
           CASE WHEN pg_catalog.count(*) = 1 THEN pg_catalog.max(total_time_ms) END AS ms
    FROM {{tables.run_schemas}} WHERE run = $1
), ended AS (
    UPDATE {{tables.runs}} r
    SET ended_at = pg_catalog.clock_timestamp(), events = events + 1,
        status = CASE WHEN counted.failed > 0 THEN 'failed' WHEN counted.cancelled > 0 THEN 'cancelled'
                      ELSE 'succeeded' END,
        problem = (SELECT s.problem FROM {{tables.run_schemas}} s
                   WHERE s.run = $1 AND s.problem IS NOT NULL ORDER BY s.status <> 'failed', s.position LIMIT 1),
        result = pg_catalog.jsonb_build_object(
            'skipped', counted.skipped, 'total', counted.total, 'schema_counts', counted.schema_counts,
            'total_time_ms',
            COALESCE(counted.ms, 1000 * EXTRACT(epoch FROM pg_catalog.clock_timestamp() - r.started_at), 0))
    FROM counted
    WHERE r.id = $1 AND r.ended_at IS NULL AND counted.unfinished = 0
    RETURNING r.id, r.events, r.status, r.problem
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT id, events, 'run_ended', pg_catalog.jsonb_build_object('status', status, 'problem', problem) FROM ended
)
SELECT status, pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM ended

-- succeeded_schemas: the schemas in which a run has succeeded
SELECT schema FROM {{tables.run_schemas}} WHERE run = $1 AND status = 'succeeded' ORDER BY position

-- request_cancel: ask the replicas that work on a run to stop; schemas that have not started are cancelled
WITH run AS (
    UPDATE {{tables.runs}}
    SET cancel_requested_at = COALESCE(cancel_requested_at, pg_catalog.now()), events = events + 1
    WHERE id = $1 AND ended_at IS NULL
    RETURNING id, events
), queued AS (
    UPDATE {{tables.run_schemas}} s SET status = 'cancelled', ended_at = pg_catalog.now()
    FROM run WHERE s.run = run.id AND s.status = 'queued'
), items AS (
    -- The items of a held run may not be due for a long time.
    UPDATE {{tables.pgqueuer}} q SET execute_after = pg_catalog.now()
    FROM run WHERE q.status = 'queued' AND q.execute_after > pg_catalog.now() AND q.dedupe_key LIKE run.id || ':%'
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT id, events, 'cancel_requested', '{}' FROM run
)
SELECT id, pg_catalog.pg_notify('pgdbm_service_events', id::text),
       pg_catalog.pg_notify('pgdbm_service_cancel', id::text)
FROM run

-- is_backend_of_run: whether a backend belongs to a run, for this module in this schema
SELECT EXISTS (
    SELECT FROM {{tables.run_schemas}} s JOIN {{tables.runs}} r ON r.id = s.run
    WHERE s.status = 'running' AND s.schema = $2 AND s.backend_pid = $3 AND r.module = $1)

-- cancel_backend: cancel the statement that a backend is executing
SELECT pg_catalog.pg_cancel_backend($1)

-- prune: delete runs that ended over $1 days ago, a thousand at a time
DELETE FROM {{tables.runs}} WHERE id IN (
    SELECT id FROM {{tables.runs}} WHERE ended_at < pg_catalog.now() - pg_catalog.make_interval(secs => $1 * 86400.0)
    LIMIT 1000 FOR UPDATE SKIP LOCKED)

-- prune_queue_log: delete entries of the queue's log that are over a day old
DELETE FROM {{tables.pgqueuer_log}} WHERE created < pg_catalog.now() - interval '1 day'

-- queue_types: the types in PgQueuer's statements that asyncpg has to query, once per pool
SELECT NULL::integer[], NULL::bigint[], NULL::bytea[], NULL::interval[], NULL::jsonb[],
       NULL::{{tables.pgqueuer_status}}, NULL::{{tables.pgqueuer_status}}[]

-- due_in: the time until the next item in the queue is due; null without one
SELECT pg_catalog.min(execute_after) - pg_catalog.now() AS due_in FROM {{tables.pgqueuer}} WHERE status = 'queued'

-- orphaned: items that the queue has lost: chunks with unfinished schemas, and runs that only remain to be ended
SELECT DISTINCT s.run, s.chunk, false AS of_all
FROM {{tables.runs}} r JOIN {{tables.run_schemas}} s ON s.run = r.id
WHERE r.status IN ('queued', 'held', 'running') AND r.created_at < pg_catalog.now() - interval '1 minute'
  AND (s.status IN ('queued', 'running') OR s.attempts > 0 AND NOT s.summarized)
  AND (s.chunk = 0 OR r.canary_passed
       OR NOT EXISTS (SELECT FROM {{tables.run_schemas}} c WHERE c.run = r.id AND c.chunk = 0))
  AND NOT EXISTS (SELECT FROM {{tables.pgqueuer}} q WHERE q.dedupe_key = s.run || ':' || s.chunk)
UNION
SELECT r.id, 0, r.module = '*'
FROM {{tables.runs}} r
WHERE r.status IN ('queued', 'held', 'running') AND r.created_at < pg_catalog.now() - interval '1 minute'
  AND NOT EXISTS (SELECT FROM {{tables.pgqueuer}} q WHERE q.dedupe_key LIKE r.id || ':%')
