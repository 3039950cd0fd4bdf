-- lock: lock a run. In a separate statement, so that what the next one reads is as recent as the lock
SELECT FROM {{tables.runs}} WHERE id = $1 FOR UPDATE

-- locked: a locked run: who requested it, what it needs, and how many have approved it
-- A run whose schemas have ended is about to end.
SELECT r.id, r.module, r.status, r.bundle, r.created_by, r.options, r.plan, r.approvals, r.approvals_needed,
       r.started_at IS NOT NULL AS is_started,
       r.ended_at IS NOT NULL
           OR NOT EXISTS (SELECT FROM {{tables.run_schemas}} s WHERE s.run = r.id AND s.status = 'queued') AS has_ended,
       (SELECT pg_catalog.count(*) FROM {{tables.run_approvals}} a WHERE a.run = r.id) AS given
FROM {{tables.runs}} r WHERE r.id = $1

-- add: the approval of the principal $2; no row if there is one already
INSERT INTO {{tables.run_approvals}} (run, principal, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING at

-- delete: the approvals of a run, which are void
DELETE FROM {{tables.run_approvals}} WHERE run = $1

-- record: the event $3 with the data $4; with the status $2, unless it is null
WITH run AS (
    UPDATE {{tables.runs}} SET status = COALESCE($2, status), events = events + 1 WHERE id = $1
    RETURNING id, events
), event AS (
    INSERT INTO {{tables.run_events}} (run, number, kind, data) SELECT id, events, $3, $4::jsonb FROM run
)
SELECT pg_catalog.pg_notify('pgdbm_service_events', id::text) FROM run

-- require: bind a run that has not started to the plan $2, which needs $6 of the approvals $3
-- $4 and $5 are its schemas and their plans.
WITH run AS (
    UPDATE {{tables.runs}} SET plan = $2, approvals = $3::jsonb, approvals_needed = $6
    WHERE id = $1 AND started_at IS NULL AND ended_at IS NULL
    RETURNING id
)
UPDATE {{tables.run_schemas}} s SET plan = given.plan
FROM run, ROWS FROM (pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[])) AS given (schema, plan)
WHERE s.run = run.id AND s.schema = given.schema

-- break_glass: let a run start without approvals, even if it is held
UPDATE {{tables.runs}} SET break_glass = $2::jsonb, hold = NULL WHERE id = $1

-- plans: the schemas of a run, each with its chunk and the digest of its plan
SELECT schema, chunk, plan FROM {{tables.run_schemas}} WHERE run = $1 ORDER BY position

-- end_schemas: end the schemas of a run that has not started: the first with the status $2 and the problem $4, the
-- others with the status $3
UPDATE {{tables.run_schemas}} s
SET status = CASE WHEN s.position = first.position THEN $2 ELSE $3 END, ended_at = pg_catalog.now(),
    problem = CASE WHEN s.position = first.position THEN $4::jsonb END
FROM (SELECT pg_catalog.min(position) AS position FROM {{tables.run_schemas}} WHERE run = $1) AS first
WHERE s.run = $1 AND s.status = 'queued'

-- wake: make the items of a run due now
UPDATE {{tables.pgqueuer}} SET execute_after = pg_catalog.now()
WHERE status = 'queued' AND execute_after > pg_catalog.now() AND dedupe_key LIKE $1::uuid || ':%'

-- of: the approvals of a run, in order
SELECT principal, reason, at FROM {{tables.run_approvals}} WHERE run = $1 ORDER BY at, principal

-- bound: the plan that a run is bound to
SELECT id, module, status, bundle, options, plan, started_at IS NOT NULL AS is_started, ended_at IS NOT NULL AS has_ended
FROM {{tables.runs}} WHERE id = $1

-- waiting: the runs of the module $1 that wait for approvals; null: of any module
SELECT id FROM {{tables.runs}} WHERE status = 'waiting_for_approval' AND ($1::text IS NULL OR module = $1)
