-- create: insert a run of several modules, its children, its idempotency key and its first event
WITH run AS (
    INSERT INTO {{tables.runs}} (id, module, options, digest, created_by, request_id, retry_of, traceparent, events)
    VALUES ($1, $2::text, '{}', $1::uuid::text, $3::text, $4, $5, $9, 1)
    RETURNING id
), children AS (
    INSERT INTO {{tables.run_children}} (run, position, module, bundle, problem, status, options)
    SELECT run.id, given.position, given.module, given.bundle, given.problem, given.status, given.options
    FROM run,
         ROWS FROM (pg_catalog.unnest($6::text[]), pg_catalog.unnest($10::text[]),
                    pg_catalog.unnest($11::text[]::jsonb[]), pg_catalog.unnest($12::text[]),
                    pg_catalog.unnest($13::text[]::jsonb[]))
             WITH ORDINALITY AS given (module, bundle, problem, status, options, position)
), key AS (
    INSERT INTO {{tables.run_keys}} (principal, key, request, run)
    SELECT $3::text, $7::text, $8::text, run.id FROM run WHERE $7::text IS NOT NULL
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, 1, 'run_queued',
           pg_catalog.jsonb_build_object('module', $2::text, 'module_count', pg_catalog.cardinality($6::text[]))
    FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- next: the child to start or to wait for, with the options of its parent; no position if all have ended
SELECT r.created_by, r.request_id, r.traceparent, r.cancel_requested_at IS NOT NULL AS cancelled,
       c.position, c.module, c.options, c.problem, c.child,
       (SELECT pg_catalog.jsonb_object_agg(b.module, b.bundle) FROM {{tables.run_children}} b
        WHERE b.run = r.id AND b.bundle IS NOT NULL) AS stored
FROM {{tables.runs}} r LEFT JOIN LATERAL (
    SELECT * FROM {{tables.run_children}} WHERE run = r.id AND status IN ('queued', 'running') ORDER BY position LIMIT 1
) c ON true
WHERE r.id = $1 AND r.module = $2 AND r.status IN ('queued', 'running')

-- start: make the run $3 the child's run, unless the child has started
WITH run AS (
    UPDATE {{tables.runs}}
    SET status = 'running', started_at = COALESCE(started_at, pg_catalog.now()), replica = $4, events = events + 1,
        attempts = 1
    WHERE id = $1 AND status IN ('queued', 'running')
      AND EXISTS (SELECT FROM {{tables.run_children}} WHERE run = $1 AND position = $2 AND status = 'queued')
    RETURNING id, events
), started AS (
    UPDATE {{tables.run_children}} c SET status = 'running', child = $3
    FROM run WHERE c.run = run.id AND c.position = $2
    RETURNING c.module
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'module_started',
           pg_catalog.jsonb_build_object('module', started.module, 'run_id', $3::uuid)
    FROM run, started
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- is_cancelled: whether the cancellation of a run was requested
SELECT cancel_requested_at IS NOT NULL FROM {{tables.runs}} WHERE id = $1

-- end: record that a child has ended, or that nothing was pending in its module
WITH run AS (
    UPDATE {{tables.runs}} SET events = events + 1
    WHERE id = $1 AND status IN ('queued', 'running')
      AND EXISTS (SELECT FROM {{tables.run_children}}
                  WHERE run = $1 AND position = $2 AND status IN ('queued', 'running'))
    RETURNING id, events
), ended AS (
    UPDATE {{tables.run_children}} c SET status = $3::text, result = $4::jsonb
    FROM run WHERE c.run = run.id AND c.position = $2
    RETURNING c.module, c.child
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT run.id, run.events, 'module_ended',
           pg_catalog.jsonb_build_object('module', ended.module, 'run_id', ended.child, 'status', $3::text)
    FROM run, ended
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- finish: end a run of several modules; children that have not ended are not reached
WITH run AS (
    UPDATE {{tables.runs}}
    SET status = $2::text, problem = $3::jsonb, ended_at = pg_catalog.clock_timestamp(), events = events + 1,
        result = pg_catalog.jsonb_build_object(
            'total_time_ms',
            1000 * EXTRACT(epoch FROM pg_catalog.clock_timestamp() - COALESCE(started_at, created_at)))
    WHERE id = $1 AND status IN ('queued', 'running')
    RETURNING id, events
), rest AS (
    UPDATE {{tables.run_children}} c SET status = 'not_reached'
    FROM run WHERE c.run = run.id AND c.status IN ('queued', 'running')
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data)
    SELECT id, events, 'run_ended', pg_catalog.jsonb_build_object('status', $2::text, 'problem', $3::jsonb) FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- has_ended: whether a run has ended. Waits for a transaction that is ending it, which finds the parents to wake up
SELECT ended_at IS NOT NULL FROM {{tables.runs}} WHERE id = $1 FOR SHARE

-- parents: the runs of several modules that wait for a run
SELECT run, position FROM {{tables.run_children}} WHERE child = $1 AND status = 'running'

-- bundles: the bundles of the children of a run that did not succeed
SELECT module, bundle FROM {{tables.run_children}} WHERE run = $1 AND status <> 'succeeded'

-- list: the children of a run, in order
SELECT module, status, child, result, problem FROM {{tables.run_children}} WHERE run = $1 ORDER BY position

-- options: the options of the child runs of a run
SELECT module, options FROM {{tables.run_children}} WHERE run = $1
