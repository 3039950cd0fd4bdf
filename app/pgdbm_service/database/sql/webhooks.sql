-- create: a webhook. The secret is returned by no other statement but those that send
INSERT INTO {{tables.webhooks}} (url, secret, events, modules, pattern, format, blocked_after_s, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
          created_at

-- list: all webhooks, oldest first
SELECT id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
       created_at
FROM {{tables.webhooks}} ORDER BY number

-- count: the number of webhooks
SELECT pg_catalog.count(*) AS number FROM {{tables.webhooks}}

-- find: the webhook $1
SELECT id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
       created_at
FROM {{tables.webhooks}} WHERE id = $1

-- change: set what is not null; a webhook that is enabled is tried again immediately. With a new secret $7, signatures
-- with the previous one are sent beside it
WITH changed AS (
    UPDATE {{tables.webhooks}}
    SET url = COALESCE($2, url), events = COALESCE($3::text[], events), modules = COALESCE($4, modules),
        pattern = COALESCE($5, pattern), blocked_after_s = COALESCE($6::float8, blocked_after_s),
        previous_secret = CASE WHEN $7::text IS NULL THEN previous_secret ELSE secret END,
        secret = COALESCE($7::text, secret),
        is_enabled = COALESCE($8::boolean, is_enabled),
        disabled_reason = CASE $8::boolean WHEN true THEN NULL WHEN false THEN $9 ELSE disabled_reason END,
        failing_since = CASE WHEN $8::boolean THEN NULL ELSE failing_since END
    WHERE id = $1
    RETURNING id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
              created_at
), due AS (
    UPDATE {{tables.webhook_deliveries}} d SET next_attempt_at = LEAST(d.next_attempt_at, pg_catalog.now())
    FROM changed WHERE d.webhook = changed.id AND d.status = 'pending' AND $8::boolean AND d.event <> 'run.blocked'
)
SELECT changed.*, pg_catalog.pg_notify('pgdbm_service_webhooks', '') FROM changed

-- delete: a webhook with its deliveries
DELETE FROM {{tables.webhooks}} WHERE id = $1
RETURNING id, url, events, modules, format, blocked_after_s, is_enabled, disabled_reason, failing_since, created_by,
          created_at

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

-- take: up to $1 deliveries that are due, for $2 seconds. Of a run, an event is due once the ones before it are done
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

-- delivered: the webhook has accepted a delivery
WITH done AS (
    UPDATE {{tables.webhook_deliveries}}
    SET status = 'delivered', delivered_at = pg_catalog.clock_timestamp(), http_status = $2, reason = NULL
    WHERE id = $1 AND status = 'pending'
    RETURNING webhook
)
UPDATE {{tables.webhooks}} w SET failing_since = NULL FROM done WHERE w.id = done.webhook AND failing_since IS NOT NULL

-- failed: an attempt failed; the next one is in $4 seconds. A webhook that has failed for $5 seconds is disabled
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

-- dropped: a delivery is about something that is over
UPDATE {{tables.webhook_deliveries}} SET status = 'dropped', reason = $2 WHERE id = $1 AND status = 'pending'

-- due_in: seconds until the next delivery is due; null without one
SELECT EXTRACT(epoch FROM pg_catalog.min(d.next_attempt_at) - pg_catalog.clock_timestamp())::float8 AS due_in
FROM {{tables.webhook_deliveries}} d JOIN {{tables.webhooks}} w ON w.id = d.webhook
WHERE d.status = 'pending' AND w.is_enabled

-- prune: delete deliveries that were done over $1 days ago, a thousand at a time
DELETE FROM {{tables.webhook_deliveries}} WHERE id IN (
    SELECT id FROM {{tables.webhook_deliveries}}
    WHERE status <> 'pending' AND at < pg_catalog.now() - pg_catalog.make_interval(secs => $1 * 86400.0)
    LIMIT 1000 FOR UPDATE SKIP LOCKED)
