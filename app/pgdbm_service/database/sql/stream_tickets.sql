-- create: a ticket with the digest $1 for the principal $2 with the scopes $3, valid for $4 seconds
-- Expired tickets are deleted in the same statement.
WITH expired AS (
    DELETE FROM {{tables.stream_tickets}} WHERE expires_at < pg_catalog.now()
)
INSERT INTO {{tables.stream_tickets}} (digest, principal, scopes, expires_at)
VALUES ($1, $2, $3::text[], pg_catalog.now() + pg_catalog.make_interval(secs => $4))
RETURNING expires_at

-- find: the principal of the ticket with the digest $1
SELECT principal, scopes FROM {{tables.stream_tickets}} WHERE digest = $1 AND expires_at > pg_catalog.now()
