-- create: a webhook. Only statements that send return the secret
INSERT INTO {{tables.webhooks}} (url, secret, events, modules, pattern, format, blocked_after_s, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
          created_at

-- list: all webhooks, oldest first
SELECT id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
       created_at, name
FROM {{tables.webhooks}} ORDER BY number

-- lock: until the end of the transaction, no other webhook is created
LOCK TABLE {{tables.webhooks}} IN SHARE ROW EXCLUSIVE MODE

-- count: the number of webhooks that were created over HTTP
SELECT pg_catalog.count(*) AS number FROM {{tables.webhooks}} WHERE name IS NULL

-- configure: what the settings say about the webhook with the name $1. Without a secret $3, its existing one stays, or
-- else it gets $4, which is not shown. With a new secret, deliveries are also signed with the previous one
INSERT INTO {{tables.webhooks}} AS w (name, url, secret, events, modules, pattern, format, blocked_after_s, created_by)
VALUES ($1, $2, COALESCE($3::text, $4), $5::text[], $6, $7, $8, $9, 'the settings')
ON CONFLICT (name) DO UPDATE
SET url = EXCLUDED.url, events = EXCLUDED.events, modules = EXCLUDED.modules, pattern = EXCLUDED.pattern,
    format = EXCLUDED.format, blocked_after_s = EXCLUDED.blocked_after_s,
    previous_secret = CASE WHEN $3::text <> w.secret THEN w.secret ELSE w.previous_secret END,
    secret = COALESCE($3::text, w.secret)
WHERE (w.url, w.events, w.modules, w.format, w.blocked_after_s, w.secret)
      IS DISTINCT FROM (EXCLUDED.url, EXCLUDED.events, EXCLUDED.modules, EXCLUDED.format, EXCLUDED.blocked_after_s,
                        COALESCE($3::text, w.secret))

-- no_longer_configured: delete the webhooks that were in the settings, except those with the names $1
DELETE FROM {{tables.webhooks}} WHERE name IS NOT NULL AND name <> ALL ($1::text[])

-- find: the webhook $1
SELECT id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
       created_at, name
FROM {{tables.webhooks}} WHERE id = $1

-- change: set what is not null; a webhook that is enabled is retried immediately. With a new secret $7, deliveries
-- are also signed with the previous one
WITH changed AS (
    UPDATE {{tables.webhooks}}
    SET url = COALESCE($2, url), events = COALESCE($3::text[], events), modules = COALESCE($4, modules),
        pattern = COALESCE($5, pattern), blocked_after_s = COALESCE($6::float8, blocked_after_s),
        previous_secret = CASE WHEN $7::text IS NULL THEN previous_secret ELSE secret END,
        secret = COALESCE($7::text, secret),
        is_enabled = COALESCE($8::boolean, is_enabled),
        disabled_reason = CASE $8::boolean WHEN true THEN NULL WHEN false THEN $9 ELSE disabled_reason END,
        failing_since = CASE WHEN $8::boolean THEN NULL ELSE failing_since END
    WHERE id = $1 AND (name IS NULL OR $10)
    RETURNING id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
              created_at, name
), due AS (
    UPDATE {{tables.webhook_deliveries}} d SET next_attempt_at = LEAST(d.next_attempt_at, pg_catalog.now())
    FROM changed WHERE d.webhook = changed.id AND d.status = 'pending' AND $8::boolean AND d.event <> 'run.blocked'
)
SELECT changed.*, pg_catalog.pg_notify('pgdbm_service_webhooks', '') FROM changed

-- delete: a webhook with its deliveries
DELETE FROM {{tables.webhooks}} WHERE id = $1 AND name IS NULL
RETURNING id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
          created_at, name

-- deliveries: at most $4 deliveries of the webhook $1 with numbers below $3, newest first; $2: only with this status
SELECT id, number, event, module, run AS run_id, at, status, attempts, delivered_at, http_status, reason,
       CASE WHEN status = 'pending' THEN next_attempt_at END AS next_attempt_at
FROM {{tables.webhook_deliveries}}
WHERE webhook = $1 AND ($2::text IS NULL OR status = $2) AND number < COALESCE($3, 9223372036854775807)
ORDER BY number DESC LIMIT $4

-- redeliver: send a delivery again, with the same webhook-id
UPDATE {{tables.webhook_deliveries}}
SET status = 'pending', attempts = 0, next_attempt_at = pg_catalog.now(), reason = NULL
WHERE webhook = $1 AND id = $2
RETURNING id, number, event, module, run AS run_id, at, status, attempts, delivered_at, http_status, reason,
          next_attempt_at, pg_catalog.pg_notify('pgdbm_service_webhooks', '')

-- take: up to $1 deliveries that are due, for $2 seconds. An event of a run is due once the ones before it are done
WITH due AS (
    SELECT d.id
    FROM {{tables.webhook_deliveries}} d JOIN {{tables.webhooks}} w ON w.id = d.webhook
    WHERE d.status = 'pending' AND d.next_attempt_at <= pg_catalog.clock_timestamp() AND w.is_enabled
      AND (d.run IS NULL OR NOT EXISTS (
          SELECT FROM {{tables.webhook_deliveries}} e
          WHERE e.webhook = d.webhook AND e.run = d.run AND e.status = 'pending' AND e.number < d.number
            AND (e.event <> 'run.blocked' OR e.attempts > 0 OR e.next_attempt_at <= pg_catalog.clock_timestamp())))
    ORDER BY d.next_attempt_at, d.number
    LIMIT $1 FOR UPDATE OF d SKIP LOCKED
)
UPDATE {{tables.webhook_deliveries}} d
SET attempts = attempts + 1,
    next_attempt_at = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $2)
FROM due, {{tables.webhooks}} w
WHERE d.id = due.id AND w.id = d.webhook
RETURNING d.id, d.webhook, d.event, d.module, d.run, d.data, d.at, d.attempts,
          w.url, w.secret, w.previous_secret, w.format

-- delivered: record that the webhook accepted a delivery
WITH done AS (
    UPDATE {{tables.webhook_deliveries}}
    SET status = 'delivered', delivered_at = pg_catalog.clock_timestamp(), http_status = $2, reason = NULL
    WHERE id = $1 AND status = 'pending'
    RETURNING webhook
)
UPDATE {{tables.webhooks}} w SET failing_since = NULL FROM done WHERE w.id = done.webhook AND failing_since IS NOT NULL

-- failed: record that an attempt failed; the next one is in $4 seconds. A webhook that has failed for $5 seconds is
-- disabled
WITH failed AS (
    UPDATE {{tables.webhook_deliveries}}
    SET http_status = $2, reason = $3,
        next_attempt_at = pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => $4)
    WHERE id = $1 AND status = 'pending'
    RETURNING webhook
)
UPDATE {{tables.webhooks}} w
SET failing_since = COALESCE(w.failing_since, pg_catalog.now()),
    is_enabled = COALESCE(w.failing_since, pg_catalog.now())
                 > pg_catalog.now() - pg_catalog.make_interval(secs => $5),
    disabled_reason = CASE WHEN COALESCE(w.failing_since, pg_catalog.now())
                                <= pg_catalog.now() - pg_catalog.make_interval(secs => $5) THEN $3 END
FROM failed WHERE w.id = failed.webhook AND w.is_enabled
RETURNING w.is_enabled

-- dropped: drop a delivery that reports something that has ended
UPDATE {{tables.webhook_deliveries}} SET status = 'dropped', reason = $2 WHERE id = $1 AND status = 'pending'

-- due_in: seconds until the next delivery is due; null if there is none
SELECT EXTRACT(epoch FROM pg_catalog.min(d.next_attempt_at) - pg_catalog.clock_timestamp())::float8 AS due_in
FROM {{tables.webhook_deliveries}} d JOIN {{tables.webhooks}} w ON w.id = d.webhook
WHERE d.status = 'pending' AND w.is_enabled

-- prune: delete deliveries that were done over $1 days ago, a thousand at a time
DELETE FROM {{tables.webhook_deliveries}} WHERE id IN (
    SELECT id FROM {{tables.webhook_deliveries}}
    WHERE status <> 'pending' AND at < pg_catalog.now() - pg_catalog.make_interval(secs => $1 * 86400.0)
    LIMIT 1000 FOR UPDATE SKIP LOCKED)

-- report: the conditions of modules: modules $1, schemas $2, events $3, digests $4, data $5. Other conditions with the
-- events $6, in the schema $8 of the module $7 if given, have ended, except those of the modules $9, whose state is not
-- known. Pending migrations are reported after $10 seconds, other conditions immediately
WITH given AS (
    SELECT * FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]),
                             pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::text[]::jsonb[]))
                  AS g (module, schema, event, digest, data)
    ORDER BY module, schema, event
), over AS (
    DELETE FROM {{tables.module_conditions}} c
    WHERE c.event = ANY ($6::text[]) AND ($7::text IS NULL OR (c.module, c.schema) = ($7, $8)) AND c.module <> ALL ($9::text[])
      AND NOT EXISTS (SELECT FROM given g WHERE (g.module, g.schema, g.event) = (c.module, c.schema, c.event))
), started AS (
    INSERT INTO {{tables.module_conditions}} AS c (module, schema, event, digest, data, reported_at)
    SELECT module, schema, event, digest, data, CASE WHEN event <> 'module.pending' THEN pg_catalog.now() END FROM given
    ON CONFLICT (module, schema, event) DO UPDATE
    SET digest = EXCLUDED.digest, data = EXCLUDED.data, since = EXCLUDED.since, reported_at = EXCLUDED.reported_at
    WHERE c.digest <> EXCLUDED.digest
    RETURNING c.module, c.event, c.data, c.since
), lasting AS (
    UPDATE {{tables.module_conditions}} c SET reported_at = pg_catalog.now(), data = g.data
    FROM given g
    WHERE (g.module, g.schema, g.event) = (c.module, c.schema, c.event) AND c.event = 'module.pending'
      AND c.reported_at IS NULL AND c.since <= pg_catalog.now() - pg_catalog.make_interval(secs => $10)
      AND EXISTS (SELECT FROM {{tables.webhooks}} w
                  WHERE w.is_enabled AND c.event = ANY (w.events) AND c.module LIKE w.pattern)
    RETURNING c.module, c.event, c.data, c.since
), sent AS (
    INSERT INTO {{tables.webhook_deliveries}} (webhook, event, module, data)
    SELECT w.id, d.event, d.module, d.data || pg_catalog.jsonb_build_object('since', d.since)
    FROM (SELECT * FROM started WHERE event <> 'module.pending' UNION ALL SELECT * FROM lasting) d
    JOIN {{tables.webhooks}} w ON d.module LIKE w.pattern AND d.event = ANY (w.events)
    WHERE w.is_enabled
    ORDER BY d.module, d.event, w.number
    RETURNING webhook
)
SELECT pg_catalog.pg_notify('pgdbm_service_webhooks', '') FROM sent LIMIT 1

-- start_drift_watch: whether to compare schemas now: whether no replica has started that within $1 seconds
UPDATE {{tables.drift_watch}} SET started_at = pg_catalog.clock_timestamp()
WHERE started_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1) RETURNING started_at
