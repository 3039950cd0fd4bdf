-- run: one run
SELECT * FROM {{tables.runs}} WHERE id = $1

-- page: runs, newest first, each with its schemas by status and with the progress of one of them
-- The schemas of a run that has ended are counted once, when it ends. "also" is the condition of an index, or empty.
SELECT r.*, s.schema, s.progress,
       COALESCE(
           r.result -> 'schema_counts',
           (SELECT pg_catalog.jsonb_object_agg(counted.status, counted.schemas)
            FROM (SELECT status, pg_catalog.count(*) AS schemas FROM {{tables.run_schemas}}
                  WHERE run = r.id GROUP BY status) AS counted)) AS schema_counts
FROM (SELECT * FROM {{tables.runs}}
      WHERE ($1::bigint IS NULL OR number < $1)
        AND ($2::text[] IS NULL OR module = ANY ($2))
        AND ($3::text[] IS NULL OR status = ANY ($3)) {{also}}
        AND ($4::text IS NULL
             OR EXISTS (SELECT FROM {{tables.run_schemas}} s WHERE s.run = {{tables.runs}}.id AND s.schema = $4))
        AND ($5::text IS NULL OR created_by = $5)
        AND ($6::timestamptz IS NULL OR created_at >= $6)
        AND ($7::timestamptz IS NULL OR created_at < $7)
      ORDER BY number DESC LIMIT $8) AS r
LEFT JOIN LATERAL (
    SELECT schema, progress FROM {{tables.run_schemas}}
    WHERE run = r.id AND status = 'running' AND r.status = 'running'
    ORDER BY progress -> 'waiting_for' IS NULL, position LIMIT 1
) AS s ON true
ORDER BY r.number DESC

-- count: how many of the newest $7 runs match, and whether there are older ones
SELECT LEAST(
           pg_catalog.count(*) FILTER (
               WHERE ($1::text[] IS NULL OR module = ANY ($1))
                 AND ($2::text[] IS NULL OR status = ANY ($2))
                 AND ($3::text IS NULL
                      OR EXISTS (SELECT FROM {{tables.run_schemas}} s WHERE s.run = newest.id AND s.schema = $3))
                 AND ($4::text IS NULL OR created_by = $4)
                 AND ($5::timestamptz IS NULL OR created_at >= $5)
                 AND ($6::timestamptz IS NULL OR created_at < $6)),
           $7::bigint) AS number,
       pg_catalog.count(*) > $7 AS is_capped
FROM (SELECT id, module, status, created_by, created_at FROM {{tables.runs}}
      ORDER BY number DESC LIMIT $7 + 1) AS newest

-- schema_counts: the number of schemas of a run by status
SELECT status, pg_catalog.count(*) AS number FROM {{tables.run_schemas}} WHERE run = $1 GROUP BY status

-- schemas: schemas of a run with the migrations that were applied in each
SELECT s.position, s.schema, s.status, s.attempts, s.progress, s.problem, s.started_at, s.ended_at,
       (SELECT COALESCE(
                   pg_catalog.jsonb_agg(
                       pg_catalog.jsonb_build_object('filename', t.filename, 'schema', t.schema,
                                                     'execution_time_ms', t.execution_time_ms)
                       ORDER BY t.position),
                   '[]')
        FROM {{tables.run_steps}} t WHERE t.run = s.run AND t.schema = s.schema) AS steps
FROM {{tables.run_schemas}} s
WHERE s.run = $1 AND ($2::text IS NULL OR s.status = $2) AND s.position > $3::bigint
ORDER BY {{order}} LIMIT $4

-- outcome: how a run ended: its row with its schemas by status, the first $2 migrations that it applied in them, and the
-- first $2 files that were applied under another name, which are among those
SELECT r.id, r.module, r.status, r.ended_at IS NOT NULL AS has_ended, r.problem, r.result,
       (SELECT pg_catalog.jsonb_object_agg(counted.status, counted.schemas)
        FROM (SELECT status, pg_catalog.count(*) AS schemas FROM {{tables.run_schemas}}
              WHERE run = r.id GROUP BY status) AS counted) AS schema_counts,
       (SELECT pg_catalog.jsonb_agg(
                   pg_catalog.jsonb_build_object('filename', one.filename, 'schema', one.schema,
                                                 'execution_time_ms', one.execution_time_ms)
                   ORDER BY one.place, one.position)
        FROM (SELECT t.filename, t.schema, t.execution_time_ms, s.position AS place, t.position
              FROM {{tables.run_steps}} t JOIN {{tables.run_schemas}} s ON s.run = t.run AND s.schema = t.schema
              WHERE t.run = r.id ORDER BY s.position, t.position LIMIT $2) AS one) AS applied,
       (SELECT pg_catalog.jsonb_agg(
                   pg_catalog.jsonb_build_object('filename', one.filename, 'applied_as', one.applied_as)
                   ORDER BY one.number)
        FROM (SELECT data ->> 'filename' AS filename, data ->> 'applied_as' AS applied_as,
                     pg_catalog.min(number) AS number
              FROM {{tables.run_events}} WHERE run = r.id AND kind = 'notice' AND data ? 'applied_as'
              GROUP BY 1, 2 ORDER BY 3 LIMIT $2) AS one) AS renamed
FROM {{tables.runs}} r WHERE r.id = $1

-- events: the events of a run after number $2
SELECT number, kind, data, at FROM {{tables.run_events}} WHERE run = $1 AND number > $2 ORDER BY number LIMIT $3

-- newest_event: the number of a run's newest event, and whether the run has ended
SELECT events, ended_at IS NOT NULL AS has_ended FROM {{tables.runs}} WHERE id = $1

-- failed_schemas: at most $2 of the schemas in which a run failed, in order
SELECT schema FROM {{tables.run_schemas}} WHERE run = $1 AND status = 'failed' ORDER BY position LIMIT $2

-- undone: the schemas in which a run did not succeed
SELECT schema FROM {{tables.run_schemas}} WHERE run = $1 AND status IN ('failed', 'cancelled', 'not_reached')
ORDER BY position

-- runs_of_files: the run that applied each of these files last
SELECT DISTINCT ON (filename) filename, run
FROM {{tables.run_steps}}
WHERE module = $1 AND schema = $2 AND filename = ANY ($3::text[])
ORDER BY filename, applied_at DESC

-- last_runs: the newest run of each of these modules, and the oldest one that has not ended
SELECT given.module, last.id, last.status, last.created_at, active.id AS active, active.status AS active_status
FROM pg_catalog.unnest($1::text[]) AS given (module)
CROSS JOIN LATERAL (SELECT r.id, r.status, r.created_at FROM {{tables.runs}} r
                    WHERE r.module = given.module ORDER BY r.number DESC LIMIT 1) AS last
LEFT JOIN LATERAL (SELECT r.id, r.status FROM {{tables.runs}} r
                   WHERE r.module = given.module AND r.ended_at IS NULL ORDER BY r.number LIMIT 1) AS active ON true

-- activity: for the runs that have not ended, by module: seconds without an event, and the numbers of schemas that wait
-- for locks, of runs that wait for approvals, and of held runs. Such runs have a reason to be quiet, and so has a run of
-- all modules that waits for one of them.
SELECT r.module,
       COALESCE(EXTRACT(epoch FROM pg_catalog.now() - pg_catalog.min(last.at) FILTER (
           WHERE r.status IN ('queued', 'running') AND NOT EXISTS (
               SELECT FROM {{tables.run_children}} c JOIN {{tables.runs}} w ON w.id = c.child
               WHERE c.run = r.id AND c.status = 'running' AND w.status IN ('held', 'waiting_for_approval'))
       )), 0)::float8 AS quiet_s,
       pg_catalog.sum(waiting.schemas)::int AS blocked,
       (pg_catalog.count(*) FILTER (WHERE r.status = 'waiting_for_approval'))::int AS waiting_for_approval,
       (pg_catalog.count(*) FILTER (WHERE r.status = 'held'))::int AS held
FROM {{tables.runs}} r
CROSS JOIN LATERAL (SELECT e.at FROM {{tables.run_events}} e WHERE e.run = r.id ORDER BY e.number DESC LIMIT 1) AS last
CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS schemas FROM {{tables.run_schemas}} s
                    WHERE s.run = r.id AND s.status = 'running'
                      AND s.progress ?| ARRAY['waiting_for', 'holder', 'retrying']) AS waiting
WHERE r.ended_at IS NULL
GROUP BY r.module

-- schema_statuses: every schema of a run with its status and its problem, in order
SELECT schema, status, problem ->> 'detail' AS detail FROM {{tables.run_schemas}} WHERE run = $1 ORDER BY position

-- is_migrating: whether a run of the module $1 is in progress
SELECT EXISTS (SELECT FROM {{tables.runs}} WHERE module = $1 AND status = 'running') AS is_migrating

-- is_waiting: whether any schema of a run waits for a lock or another runner
SELECT EXISTS (
    SELECT FROM {{tables.run_schemas}}
    WHERE run = $1 AND status = 'running' AND progress ?| ARRAY['waiting_for', 'holder', 'retrying']) AS is_waiting
