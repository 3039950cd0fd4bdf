"""The statements that change the rows of runs. Each that writes an event tells the channel of events the run's id.

A run's event numbers come from its row, whose lock is held until the commit.
"""

from __future__ import annotations

# As the statements below spell them.
EVENTS_CHANNEL = "pgdbm_service_events"
CANCEL_CHANNEL = "pgdbm_service_cancel"

CREATE = """
WITH run AS (
    INSERT INTO {{tables.runs}} (id, module, wishes, digest, bundle, caller, request_id, retry_of, traceparent, events)
    VALUES ($1, $2::text, $3::jsonb, $4, $5, $6::text, $7, $8, $13, 1)
    ON CONFLICT (module, digest) WHERE status IN ('queued', 'running') DO NOTHING
    RETURNING id
), schemas AS (
    INSERT INTO {{tables.run_schemas}} (run, schema, position, chunk)
    SELECT run.id, given.schema, given.position, given.chunk
    FROM run, unnest($9::text[], $10::text[]::integer[]) WITH ORDINALITY AS given (schema, chunk, position)
), key AS (
    INSERT INTO {{tables.run_keys}} (caller, key, request, run)
    SELECT $6::text, $11::text, $12::text, run.id FROM run WHERE $11::text IS NOT NULL
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, 1, 'run_queued', jsonb_build_object('module', $2::text, 'schemas', cardinality($9::text[])) FROM run
)
SELECT id, pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""

REMEMBER_KEY = """
INSERT INTO {{tables.run_keys}} (caller, key, request, run) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""

FORGET_KEY = "DELETE FROM {{tables.run_keys}} WHERE caller = $1 AND key = $2"

BEGIN = """
SELECT id, module, wishes, bundle, caller, traceparent, cancel_requested_at IS NOT NULL AS cancelled,
       (SELECT count(*) FROM {{tables.run_schemas}} WHERE run = $1) AS schemas
FROM {{tables.runs}} WHERE id = $1 AND status IN ('queued', 'running')
"""

WAITING = """
SELECT s.schema, s.attempts, s.instance, s.backend_pid,
       COALESCE(s.status = 'running' AND i.seen_at > now() - make_interval(secs => $3), false) AS is_owned
FROM {{tables.run_schemas}} s LEFT JOIN {{tables.instances}} i ON i.id = s.instance
WHERE s.run = $1 AND s.chunk = $2 AND s.status IN ('queued', 'running')
ORDER BY s.position
"""

BEGIN_SCHEMA = """
WITH run AS (
    UPDATE {{tables.runs}}
    SET status = 'running', started_at = COALESCE(started_at, now()), instance = $3, events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running') AND cancel_requested_at IS NULL
      AND EXISTS (SELECT FROM {{tables.run_schemas}}
                  WHERE run = $1 AND schema = $2 AND status IN ('queued', 'running'))
    RETURNING id, events
), mine AS (
    UPDATE {{tables.run_schemas}} s
    SET status = 'running', attempts = attempts + 1, instance = $3, backend_pid = NULL, progress = NULL, problem = NULL,
        started_at = COALESCE(started_at, now())
    FROM run
    WHERE s.run = run.id AND s.schema = $2 AND s.status IN ('queued', 'running')
    RETURNING s.attempts, s.pending
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'schema_began',
           jsonb_build_object('schema', $2::text, 'attempt', mine.attempts, 'instance', $3::uuid)
    FROM run, mine
)
SELECT mine.attempts, mine.pending, pg_catalog.pg_notify('pgdbm_service_events', run.id::text) FROM run, mine
"""

NOTE = """
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + cardinality($4::text[])
    WHERE id = $1 AND status = 'running'
    RETURNING id, events, cancel_requested_at IS NOT NULL AS cancelled
), mine AS (
    UPDATE {{tables.run_schemas}} s
    SET progress = $6::jsonb, backend_pid = $7, pending = COALESCE(s.pending, $8::text[])
    FROM run
    WHERE s.run = run.id AND s.schema = $2 AND s.attempts = $3 AND s.status = 'running'
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events - cardinality($4::text[]) + heard.position, heard.kind,
           jsonb_build_object('schema', $2::text) || heard.data
    FROM run, unnest($4::text[], $5::text[]::jsonb[]) WITH ORDINALITY AS heard (kind, data, position)
)
SELECT cancelled,
       CASE WHEN cardinality($4::text[]) > 0 THEN pg_catalog.pg_notify('pgdbm_service_events', id::text) END
FROM run
"""

SUCCEED = """
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running')
    RETURNING id, events
), mine AS (
    UPDATE {{tables.run_schemas}} s
    SET status = 'succeeded', backend_pid = NULL, progress = NULL, problem = NULL, ended_at = now(),
        skipped = $5, total = $6, total_time_ms = $7
    FROM run
    WHERE s.run = run.id AND s.schema = $2 AND s.status <> 'succeeded'
), steps AS (
    INSERT INTO {{tables.run_steps}} (run, schema, filename, module, position, execution_time_ms)
    SELECT $1, $2, step.filename, r.module, step.position, step.took
    FROM {{tables.runs}} r,
         unnest($3::text[], $4::text[]::integer[]) WITH ORDINALITY AS step (filename, took, position)
    WHERE r.id = $1
    ON CONFLICT DO NOTHING
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'schema_ended',
           jsonb_build_object('schema', $2::text, 'status', 'succeeded', 'applied', cardinality($3::text[]))
    FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""

FAIL = """
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running')
      AND EXISTS (SELECT FROM {{tables.run_schemas}}
                  WHERE run = $1 AND schema = $2 AND attempts = $3 AND status = 'running')
    RETURNING id, events
), mine AS (
    UPDATE {{tables.run_schemas}} s
    SET status = $4, backend_pid = NULL, problem = $5::jsonb, ended_at = now()
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
         unnest($6::text[], $7::text[]::integer[]) WITH ORDINALITY AS step (filename, took, position)
    WHERE r.id = $1
    ON CONFLICT DO NOTHING
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'schema_ended',
           jsonb_build_object('schema', $2::text, 'status', $4::text, 'problem', $5::jsonb)
    FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""

REQUEUE = """
WITH mine AS (
    UPDATE {{tables.run_schemas}}
    SET status = 'queued', instance = NULL, backend_pid = NULL, progress = NULL
    WHERE run = $1 AND chunk = $2 AND instance = $3 AND status = 'running'
    RETURNING schema
), run AS (
    UPDATE {{tables.runs}} r
    SET events = events + 1,
        status = CASE WHEN EXISTS (SELECT FROM {{tables.run_schemas}} s
                                   WHERE s.run = $1 AND s.status = 'running' AND s.schema NOT IN (TABLE mine))
                      THEN 'running' ELSE 'queued' END
    WHERE r.id = $1 AND r.status IN ('queued', 'running')
    RETURNING r.id, r.events
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'requeued', jsonb_build_object('reason', $4::text, 'instance', $3::uuid) FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""

ABANDON = """
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running')
    RETURNING id, events
), mine AS (
    UPDATE {{tables.run_schemas}} s SET status = 'failed', backend_pid = NULL, problem = $3::jsonb, ended_at = now()
    FROM run
    WHERE s.run = run.id AND s.chunk = $2 AND s.status IN ('queued', 'running')
), others AS (
    UPDATE {{tables.run_schemas}} s SET status = 'not_reached'
    FROM run
    WHERE s.run = run.id AND s.chunk <> $2 AND s.status = 'queued'
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'abandoned', jsonb_build_object('problem', $3::jsonb) FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run
"""

CANCEL_CHUNK = """
UPDATE {{tables.run_schemas}} s SET status = 'cancelled', backend_pid = NULL, ended_at = now()
WHERE s.run = $1 AND s.chunk = $2
  AND (s.status = 'queued'
       OR s.status = 'running' AND NOT EXISTS (
           SELECT FROM {{tables.instances}} i
           WHERE i.id = s.instance AND i.seen_at > now() - make_interval(secs => $3)))
"""

RELEASE_OTHERS = """
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
"""

FINISH = """
WITH counted AS (
    SELECT count(*) FILTER (WHERE status IN ('queued', 'running')) AS unfinished,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
           COALESCE(sum(skipped), 0) AS skipped, COALESCE(sum(total), 0) AS total,
           CASE WHEN count(*) = 1 THEN max(total_time_ms) END AS ms
    FROM {{tables.run_schemas}} WHERE run = $1
), ended AS (
    UPDATE {{tables.runs}} r
    SET ended_at = clock_timestamp(), events = events + 1,
        status = CASE WHEN counted.failed > 0 THEN 'failed' WHEN counted.cancelled > 0 THEN 'cancelled'
                      ELSE 'succeeded' END,
        problem = (SELECT s.problem FROM {{tables.run_schemas}} s
                   WHERE s.run = $1 AND s.problem IS NOT NULL ORDER BY s.status <> 'failed', s.position LIMIT 1),
        result = jsonb_build_object(
            'skipped', counted.skipped, 'total', counted.total,
            'total_time_ms', COALESCE(counted.ms, 1000 * EXTRACT(epoch FROM clock_timestamp() - r.started_at), 0))
    FROM counted
    WHERE r.id = $1 AND r.status IN ('queued', 'running') AND counted.unfinished = 0
    RETURNING r.id, r.events, r.status, r.problem
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT id, events, 'run_ended', jsonb_build_object('status', status, 'problem', problem) FROM ended
)
SELECT status, pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM ended
"""

WHOLES = "SELECT run, position FROM {{tables.run_parts}} WHERE part = $1 AND status = 'running'"

REQUEST_CANCEL = """
WITH run AS (
    UPDATE {{tables.runs}}
    SET cancel_requested_at = COALESCE(cancel_requested_at, now()), events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running')
    RETURNING id, events
), waiting AS (
    UPDATE {{tables.run_schemas}} s SET status = 'cancelled', ended_at = now()
    FROM run WHERE s.run = run.id AND s.status = 'queued'
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT id, events, 'cancel_requested', '{}' FROM run
)
SELECT id, pg_catalog.pg_notify('pgdbm_service_events', id::text),
       pg_catalog.pg_notify('pgdbm_service_cancel', id::text)
FROM run
"""

OURS = """
SELECT EXISTS (
    SELECT FROM {{tables.run_schemas}} s JOIN {{tables.runs}} r ON r.id = s.run
    WHERE s.status = 'running' AND s.schema = $2 AND s.backend_pid = $3 AND r.module = $1)
"""

BEAT = """
INSERT INTO {{tables.instances}} (id, host, pid, version) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET seen_at = now()
"""

SAY_GOODBYE = "DELETE FROM {{tables.instances}} WHERE id = $1"

FORGET_RUNS = """
DELETE FROM {{tables.runs}} WHERE id IN (
    SELECT id FROM {{tables.runs}} WHERE ended_at < now() - make_interval(secs => $1 * 86400.0)
    LIMIT 1000 FOR UPDATE SKIP LOCKED)
"""

FORGET_INSTANCES = "DELETE FROM {{tables.instances}} WHERE seen_at < now() - interval '1 day'"

FORGET_QUEUE_LOG = "DELETE FROM {{tables.pgqueuer_log}} WHERE created < now() - interval '1 day'"

LOST = """
SELECT DISTINCT s.run, s.chunk, false AS of_all
FROM {{tables.runs}} r JOIN {{tables.run_schemas}} s ON s.run = r.id
WHERE r.status IN ('queued', 'running') AND r.created_at < now() - interval '1 minute'
  AND s.status IN ('queued', 'running')
  AND (s.chunk = 0 OR r.canary_passed
       OR NOT EXISTS (SELECT FROM {{tables.run_schemas}} c WHERE c.run = r.id AND c.chunk = 0))
  AND NOT EXISTS (SELECT FROM {{tables.pgqueuer}} q WHERE q.dedupe_key = s.run || ':' || s.chunk)
UNION
-- Nothing is left to do but to say so; or it waits for a part.
SELECT r.id, 0, r.module = '*'
FROM {{tables.runs}} r
WHERE r.status IN ('queued', 'running') AND r.created_at < now() - interval '1 minute'
  AND NOT EXISTS (SELECT FROM {{tables.pgqueuer}} q WHERE q.dedupe_key LIKE r.id || ':%')
"""
