-- create: a token with the id $1, the name $2, the digest $3, the scopes $4, the creator $5 and the expiry $6
INSERT INTO {{tables.tokens}} (id, name, digest, scopes, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING created_at

-- page: at most $2 tokens with numbers below $1 (null: all), newest first, whose names contain $3 and whose state is
-- one of $4
SELECT number, id, name, scopes, created_at, created_by, expires_at, last_used_at, revoked_at, revoked_by
FROM {{tables.tokens}}
WHERE number < COALESCE($1, 9223372036854775807) AND {{matches}} ORDER BY number DESC LIMIT $2

-- matches: part of statements: whether a token's name contains q, ignoring case, and it has one of the states (null:
-- any)
({{q}}::text = '' OR pg_catalog.strpos(pg_catalog.lower(name), pg_catalog.lower({{q}}::text)) > 0)
AND ({{states}}::text[] IS NULL
     OR CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= pg_catalog.now() THEN 'expired'
             ELSE 'active' END = ANY ({{states}}::text[]))

-- count: the number of tokens, up to $1, whose names contain $2 and whose state is one of $3; and whether there are
-- more
SELECT LEAST(pg_catalog.count(*), $1::bigint) AS number, pg_catalog.count(*) > $1 AS is_capped
FROM (SELECT FROM {{tables.tokens}} WHERE {{matches}} LIMIT $1 + 1) AS found

-- revoke: the token with the id $1, or if $3 the name $1, by $2
-- Revoked tokens may share names; a name means the token that is not revoked.
UPDATE {{tables.tokens}}
SET revoked_at = COALESCE(revoked_at, pg_catalog.now()), revoked_by = COALESCE(revoked_by, $2)
WHERE id = $1 OR ($3 AND name = $1 AND revoked_at IS NULL)
RETURNING id, name, scopes, created_at, created_by, expires_at, last_used_at, revoked_at, revoked_by

-- find: the token with the id $1, unless it is revoked
SELECT name, digest, scopes, expires_at FROM {{tables.tokens}} WHERE id = $1 AND revoked_at IS NULL

-- show: the token with the id $1, even if it is revoked
SELECT id, name, scopes, created_at, created_by, expires_at, last_used_at, revoked_at, revoked_by
FROM {{tables.tokens}} WHERE id = $1

-- active_ids: the ids of all tokens that are neither revoked nor expired
SELECT id FROM {{tables.tokens}} WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > pg_catalog.now())

-- record_use: the token $1 was used; at most one write per minute
UPDATE {{tables.tokens}} SET last_used_at = pg_catalog.now()
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < pg_catalog.now() - interval '1 minute')
