-- recent: the newest runs of each of the modules $1, at most $2 of each, newest first
SELECT r.id, r.module, r.status, r.created_by, r.created_at, r.started_at, r.ended_at, r.problem, r.hold
FROM unnest($1::text[]) AS wanted (module)
CROSS JOIN LATERAL (
    SELECT * FROM {{tables.runs}} WHERE module = wanted.module ORDER BY number DESC LIMIT $2
) r
ORDER BY r.module, r.number DESC

-- active: the runs that have not ended, oldest first, each with what one of its schemas is doing
-- A schema that waits for a lock is preferred to one that is making progress.
SELECT r.id, r.module, r.status, r.created_by, r.created_at, r.started_at, r.ended_at, r.problem, r.hold,
       counts.total, counts.ended, s.schema, s.progress
FROM {{tables.runs}} r
CROSS JOIN LATERAL (
    SELECT count(*)::int AS total, count(*) FILTER (WHERE status NOT IN ('queued', 'running'))::int AS ended
    FROM {{tables.run_schemas}} WHERE run = r.id
) counts
LEFT JOIN LATERAL (
    SELECT schema, progress FROM {{tables.run_schemas}}
    WHERE run = r.id AND status = 'running'
    ORDER BY progress->'waiting_for' IS NULL, position LIMIT 1
) s ON true
WHERE r.ended_at IS NULL
ORDER BY r.number
LIMIT 100

-- replicas: the replicas that have sent a heartbeat within $1 seconds, with the schemas that each is migrating
-- With $2, the replicas that have sent one within $2 seconds but none within $1.
SELECT p.id, p.host, p.pid, p.version, p.started_at, p.seen_at,
       (SELECT count(*)::int FROM {{tables.run_schemas}} s WHERE s.replica = p.id AND s.status = 'running') AS running,
       ARRAY(SELECT DISTINCT r.module FROM {{tables.run_schemas}} s JOIN {{tables.runs}} r ON r.id = s.run
             WHERE s.replica = p.id AND s.status = 'running' ORDER BY r.module) AS modules
FROM {{tables.replicas}} p
WHERE CASE WHEN $2::float8 IS NULL THEN p.seen_at > now() - make_interval(secs => $1)
           ELSE p.seen_at <= now() - make_interval(secs => $1) AND p.seen_at > now() - make_interval(secs => $2) END
ORDER BY p.started_at, p.id

-- backends: the process ids of the backends that are migrating
SELECT backend_pid FROM {{tables.run_schemas}} WHERE status = 'running' AND backend_pid IS NOT NULL

-- changed: the current state of the runs $1
SELECT id, module, status, created_by, created_at, started_at, ended_at, problem, hold
FROM {{tables.runs}} WHERE id = ANY ($1::text[]::uuid[])

-- changed_since: the current state of the runs with an event later than $1, oldest change first
SELECT r.id, r.module, r.status, r.created_by, r.created_at, r.started_at, r.ended_at, r.problem, r.hold
FROM {{tables.runs}} r
WHERE GREATEST(r.created_at, r.started_at, r.ended_at) > $1 OR r.ended_at IS NULL
ORDER BY GREATEST(r.created_at, r.started_at, r.ended_at)
LIMIT 1000
