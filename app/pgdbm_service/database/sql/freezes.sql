-- lock_runs: wait for runs that are starting: later ones see the freezes of this transaction
LOCK TABLE {{tables.runs}} IN SHARE MODE

-- put: freeze the modules $1; $2 is the same glob as a pattern for LIKE
INSERT INTO {{tables.freezes}} AS f (modules, pattern, reason, until, frozen_by)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (modules) DO UPDATE
SET reason = EXCLUDED.reason, until = EXCLUDED.until, frozen_by = EXCLUDED.frozen_by, frozen_at = pg_catalog.now()
RETURNING modules, reason, until, frozen_by, frozen_at

-- list: the freezes that have not ended
SELECT modules, reason, until, frozen_by, frozen_at FROM {{tables.freezes}}
WHERE until IS NULL OR until > pg_catalog.now()
ORDER BY modules

-- of_module: the freeze of the module $1 that ends last
SELECT modules, reason, until, frozen_by, frozen_at FROM {{tables.freezes}}
WHERE $1::text LIKE pattern AND (until IS NULL OR until > pg_catalog.now())
ORDER BY until DESC NULLS FIRST LIMIT 1

-- lift: end the freeze of the modules $1; null: all freezes
DELETE FROM {{tables.freezes}} WHERE $1::text IS NULL OR modules = $1
RETURNING modules, reason, until, frozen_by, frozen_at

-- wake: make the items of held runs due now: those of modules LIKE $1; if that is null, all that no freeze holds any
-- longer
UPDATE {{tables.pgqueuer}} q SET execute_after = pg_catalog.now()
FROM {{tables.runs}} r
WHERE r.status = 'held' AND r.hold ->> 'reason' = 'freeze'
  AND q.status = 'queued' AND q.execute_after > pg_catalog.now() AND q.dedupe_key LIKE r.id || ':%'
  AND (r.module LIKE $1::text
       OR $1::text IS NULL AND NOT EXISTS (
           SELECT FROM {{tables.freezes}} f
           WHERE r.module LIKE f.pattern AND (f.until IS NULL OR f.until > pg_catalog.now())))

-- prune: delete freezes that ended over a day ago
DELETE FROM {{tables.freezes}} WHERE until < pg_catalog.now() - interval '1 day'
