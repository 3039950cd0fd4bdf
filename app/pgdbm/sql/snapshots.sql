-- create: what the schema was when migrations were last applied to it; one row for all modules that share it
CREATE TABLE IF NOT EXISTS {{snapshots}} (
    is_newest boolean PRIMARY KEY DEFAULT true CHECK (is_newest),
    taken_at timestamptz NOT NULL,
    module text NOT NULL,
    format integer NOT NULL,
    server_version integer NOT NULL,
    fingerprint text NOT NULL,
    excluded text[] NOT NULL,
    listing bytea NOT NULL
)

-- look: what a new snapshot has to know of the one before, and the time by which the newer of two is told
SELECT s.excluded, s.fingerprint, s.format, s.server_version, c.now
FROM (SELECT pg_catalog.clock_timestamp() AS now) c LEFT JOIN {{snapshots}} s ON true

-- keep: the row, unless a newer look at the schema was faster
INSERT INTO {{snapshots}} AS s (taken_at, module, format, server_version, fingerprint, excluded, listing)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (is_newest) DO UPDATE
SET taken_at = EXCLUDED.taken_at, module = EXCLUDED.module, format = EXCLUDED.format,
    server_version = EXCLUDED.server_version, fingerprint = EXCLUDED.fingerprint, excluded = EXCLUDED.excluded,
    listing = EXCLUDED.listing
WHERE s.taken_at <= EXCLUDED.taken_at

-- confirm: the schema is as it was
UPDATE {{snapshots}} SET taken_at = $1, module = $2 WHERE taken_at <= $1 AND fingerprint = $3

-- newest: the row
SELECT taken_at, module, format, server_version, fingerprint, excluded, listing FROM {{snapshots}}

-- applied_since: whether the history has rows that are newer than a snapshot
SELECT EXISTS (SELECT FROM {{history}}
               WHERE applied_at AT TIME ZONE pg_catalog.current_setting('TimeZone') > $1)
