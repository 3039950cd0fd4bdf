-- start: a session with the id $1, the digest $2, the principal $3, the token $4 or the issuer $5, the scopes $6 and
-- the client's address $7, for at most $8 seconds
INSERT INTO {{tables.dashboard_sessions}} (id, digest, principal, token_id, issuer, scopes, address, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, pg_catalog.now() + pg_catalog.make_interval(secs => $8))

-- find: the session $1, unless it has ended or was not used for $2 seconds
-- The scopes of a token may have changed since the sign-in.
SELECT s.id, s.digest, s.principal, s.token_id, s.issuer, COALESCE(t.scopes, s.scopes) AS scopes, s.address,
    s.started_at, s.seen_at,
    LEAST(s.expires_at, t.expires_at, s.seen_at + pg_catalog.make_interval(secs => $2)) AS expires_at
FROM {{tables.dashboard_sessions}} s LEFT JOIN {{tables.tokens}} t ON t.id = s.token_id
WHERE s.id = $1 AND t.revoked_at IS NULL
    AND LEAST(s.expires_at, t.expires_at, s.seen_at + pg_catalog.make_interval(secs => $2)) > pg_catalog.now()

-- of_principal: the sessions of the principal $1 that have not ended, and were used within $2 seconds, newest first
SELECT s.id, s.digest, s.principal, s.token_id, s.issuer, COALESCE(t.scopes, s.scopes) AS scopes, s.address,
    s.started_at, s.seen_at,
    LEAST(s.expires_at, t.expires_at, s.seen_at + pg_catalog.make_interval(secs => $2)) AS expires_at
FROM {{tables.dashboard_sessions}} s LEFT JOIN {{tables.tokens}} t ON t.id = s.token_id
WHERE s.principal = $1 AND t.revoked_at IS NULL
    AND LEAST(s.expires_at, t.expires_at, s.seen_at + pg_catalog.make_interval(secs => $2)) > pg_catalog.now()
ORDER BY s.started_at DESC, s.id

-- active_ids: which of the sessions $1 (null: all) have not ended, and were used within $2 seconds
SELECT s.id FROM {{tables.dashboard_sessions}} s LEFT JOIN {{tables.tokens}} t ON t.id = s.token_id
WHERE ($1::text[] IS NULL OR s.id = ANY ($1::text[])) AND t.revoked_at IS NULL
    AND LEAST(s.expires_at, t.expires_at, s.seen_at + pg_catalog.make_interval(secs => $2)) > pg_catalog.now()

-- record_use: the session $1, which ends after $2 seconds without use, was used; at most one write in $3 seconds
UPDATE {{tables.dashboard_sessions}} SET seen_at = pg_catalog.now()
WHERE id = $1 AND seen_at < pg_catalog.now() - pg_catalog.make_interval(secs => $3)
    AND seen_at > pg_catalog.now() - pg_catalog.make_interval(secs => $2)

-- end: the session $1
DELETE FROM {{tables.dashboard_sessions}} WHERE id = $1

-- end_all: every session of the principal $1
DELETE FROM {{tables.dashboard_sessions}} WHERE principal = $1 RETURNING id

-- prune: delete sessions that have expired or were not used for $1 seconds, and all but the newest $3 of the principal
-- $2
DELETE FROM {{tables.dashboard_sessions}}
WHERE LEAST(expires_at, seen_at + pg_catalog.make_interval(secs => $1)) < pg_catalog.now()
    OR id IN (
        SELECT s.id FROM {{tables.dashboard_sessions}} s WHERE s.principal = $2
        ORDER BY s.started_at DESC, s.id OFFSET $3
    )
