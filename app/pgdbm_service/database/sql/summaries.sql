-- schemas_like: the schemas whose names match the expression $1, by name, at most $2
SELECT ARRAY(SELECT nspname::text FROM pg_catalog.pg_namespace WHERE {{like}} ORDER BY nspname LIMIT $2)

-- like: part of a statement: the schema matches the expression $1, and a module may use it
nspname ~ $1 AND nspname !~ '^pg_' AND nspname NOT IN ('pgdbm_service', 'information_schema')

-- placed: part of a statement: the schemas of the module $3 with their summaries; they match $1, or are named in $2
-- Grouped instead of joined: the planner cannot estimate how many schemas match, and would query each one.
WITH wanted AS (
    SELECT nspname::text COLLATE "C" AS schema FROM pg_catalog.pg_namespace WHERE {{like}}
    UNION ALL SELECT name COLLATE "C" FROM pg_catalog.unnest($2::text[]) AS name
), placed AS (
    SELECT schema, pg_catalog.max(digest) AS digest, pg_catalog.max(checked_at) AS checked_at,
           pg_catalog.max(last_run) AS last_run
    FROM (SELECT schema, true AS is_wanted, NULL AS digest, NULL::timestamptz AS checked_at, NULL AS last_run
          FROM wanted
          UNION ALL
          SELECT schema, false, digest, checked_at, last_run
          FROM {{tables.schema_summaries}} WHERE module = $3) AS either
    GROUP BY schema HAVING pg_catalog.bool_or(is_wanted)
)

-- count: the number of a module's schemas by applied set
{{placed}}
SELECT digest, pg_catalog.count(*) AS schemas FROM placed GROUP BY digest

-- page: the schemas of a module after $4, by name, at most $6; with $5, those in which one of these sets is applied
{{placed}}
SELECT schema, digest, checked_at, last_run FROM placed
WHERE schema > $4 AND ($5::text[] IS NULL OR COALESCE(digest, '') = ANY ($5))
ORDER BY schema LIMIT $6

-- last_runs_in: the last run of the module $1 in each of the schemas $2
SELECT schema, last_run FROM {{tables.schema_summaries}} WHERE module = $1 AND schema = ANY ($2::text[])

-- last_runs: the last run of each of the modules $1
SELECT module, run FROM {{tables.last_runs}} WHERE module = ANY ($1::text[])

-- keep: the summaries of the modules $1 in the schemas $2, with the digests $3; $4 is the run that migrated them, the
-- last one of the module $8. $7 are the contents of the sets with the digests $6. If they were read at $5, newer
-- summaries stay: for example, those of a run that has just ended. The commit does not wait for the disk: that of the
-- run's end, which follows, flushes this one, too.
WITH last_run AS (
    INSERT INTO {{tables.last_runs}} (module, run) SELECT $8, $4 WHERE $8::text IS NOT NULL
    ON CONFLICT (module) DO UPDATE SET run = EXCLUDED.run
), sets AS (
    INSERT INTO {{tables.applied_sets}} (digest, content)
    SELECT * FROM ROWS FROM (pg_catalog.unnest($6::text[]), pg_catalog.unnest($7::text[]::jsonb[])) ORDER BY 1
    ON CONFLICT DO NOTHING
)
INSERT INTO {{tables.schema_summaries}} AS s (module, schema, digest, last_run)
SELECT *, $4::text
FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]))
WHERE pg_catalog.set_config('synchronous_commit', 'off', true) = 'off'
ORDER BY 1, 2
ON CONFLICT (module, schema) DO UPDATE
SET digest = EXCLUDED.digest, checked_at = pg_catalog.now(), last_run = COALESCE(EXCLUDED.last_run, s.last_run)
WHERE $5::timestamptz IS NULL OR s.checked_at <= $5

-- now: the time by which summaries are compared
SELECT pg_catalog.now()

-- applied_sets: the applied sets with the digests $1
SELECT digest, content FROM {{tables.applied_sets}} WHERE digest = ANY ($1::text[])

-- by_module: the applied sets of the module $1, or of all modules; but not of the modules $2; each with its first
-- schema and its number of schemas
SELECT module, digest, pg_catalog.min(schema) AS schema, pg_catalog.count(*) AS schemas
FROM {{tables.schema_summaries}}
WHERE ($1::text IS NULL OR module = $1) AND module <> ALL ($2::text[])
GROUP BY 1, 2 ORDER BY 1, 3

-- schemas_with: the schemas of the module $1 in which one of the sets $2 is applied
SELECT schema FROM {{tables.schema_summaries}} WHERE module = $1 AND digest = ANY ($2::text[])

-- start_reconciliation: the current time; no row if a replica started one within $1 seconds
UPDATE {{tables.reconciliation}} SET started_at = pg_catalog.now()
WHERE started_at < pg_catalog.now() - pg_catalog.make_interval(secs => $1) RETURNING started_at

-- end_reconciliation: record that all summaries have been compared; delete those that were not checked since $1
WITH pruned AS (DELETE FROM {{tables.schema_summaries}} WHERE checked_at < $1)
UPDATE {{tables.reconciliation}} SET ended_at = pg_catalog.now()

-- was_reconciled: whether all summaries have ever been compared with the histories
SELECT ended_at IS NOT NULL FROM {{tables.reconciliation}}
