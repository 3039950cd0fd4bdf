-- create: the schema as of the last apply; one row for all modules that share it. {{uncompressed}}: a listing is already
-- compressed, and compressing it again would take most of the time of writing it.
CREATE TABLE IF NOT EXISTS {{snapshots}} (
    is_newest boolean PRIMARY KEY DEFAULT true CHECK (is_newest),
    taken_at pg_catalog.timestamptz NOT NULL,
    module pg_catalog.text NOT NULL,
    format integer NOT NULL,
    server_version integer NOT NULL,
    fingerprint pg_catalog.text NOT NULL,
    excluded pg_catalog.text[] NOT NULL,
    listing pg_catalog.bytea {{uncompressed}} NOT NULL
)

-- previous: what a new snapshot is compared with, and its time. clock_timestamp() and not now(): the catalog is read
-- afterwards, and the snapshot of a transaction that began earlier is not newer. Includes the listing if $3.
-- {{digests}}: those of a history, in the same round trip; $1 and $2 are its parameters.
SELECT s.taken_at, s.excluded, s.fingerprint, s.format, s.server_version, c.now,
       CASE WHEN $3 THEN s.listing END AS listing, d.total, d.others
FROM (SELECT pg_catalog.clock_timestamp() AS now) c LEFT JOIN {{snapshots}} s ON true CROSS JOIN ({{digests}}) d

-- keep: the new snapshot, unless a newer one already exists. Unless $8, the commit does not wait for the disk: without
-- its snapshot, a run has applied the same.
INSERT INTO {{snapshots}} AS s (taken_at, module, format, server_version, fingerprint, excluded, listing)
SELECT $1, $2, $3, $4, $5, $6, $7
WHERE $8 OR pg_catalog.set_config('synchronous_commit', 'off', true) = 'off'
ON CONFLICT (is_newest) DO UPDATE
SET taken_at = EXCLUDED.taken_at, module = EXCLUDED.module, format = EXCLUDED.format,
    server_version = EXCLUDED.server_version, fingerprint = EXCLUDED.fingerprint, excluded = EXCLUDED.excluded,
    listing = EXCLUDED.listing
WHERE s.taken_at <= EXCLUDED.taken_at

-- replace: the snapshot that was derived from the one with the time $7 and the fingerprint $8; no row if it has been
-- replaced. $9 as above.
UPDATE {{snapshots}} SET taken_at = $1, module = $2, server_version = $3, fingerprint = $4, excluded = $5, listing = $6
WHERE taken_at = $7 AND taken_at <= $1 AND fingerprint = $8
      AND ($9 OR pg_catalog.set_config('synchronous_commit', 'off', true) = 'off')
RETURNING taken_at

-- newest: the snapshot
SELECT taken_at, module, format, server_version, fingerprint, excluded, listing FROM {{snapshots}}

-- applied_since: whether the history has rows newer than a snapshot
SELECT EXISTS (SELECT FROM {{history}}
               WHERE pg_catalog.timezone('UTC', applied_at) > $1)
