-- write: insert entries, given as one array of texts per column; entries that were written before are skipped
-- With several arguments, unnest is syntax, and always PostgreSQL's own function.
INSERT INTO {{tables.audit}}
    (entry, at, principal, address, method, path, module, run_id, http_status, problem_code, request_id, reason)
SELECT * FROM unnest(
    $1::text[]::uuid[], $2::text[]::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::text[]::integer[], $10::text[], $11::text[], $12::text[])
ON CONFLICT (entry) DO NOTHING

-- page: at most $4 entries with ids below $1 (null: all), newest first, for principal $2 and module $3 (null: any)
SELECT id, at, principal, address, method, path, module, run_id, http_status, problem_code, request_id, reason
FROM {{tables.audit}}
WHERE id < COALESCE($1, 9223372036854775807)
  AND ($2::text IS NULL OR principal = $2)
  AND ($3::text IS NULL OR module = $3)
ORDER BY id DESC
LIMIT $4

-- count: how many of the newest $3 entries match, and whether there are older ones
SELECT LEAST(
           pg_catalog.count(*) FILTER (
               WHERE ($1::text IS NULL OR principal = $1) AND ($2::text IS NULL OR module = $2)),
           $3::bigint) AS number,
       pg_catalog.count(*) > $3 AS is_capped
FROM (SELECT principal, module FROM {{tables.audit}} ORDER BY id DESC LIMIT $3 + 1) AS newest

-- last_refusal: the newest migrate of the module $1 that did not become a run, if it was later than $2 (null: any time)
SELECT at, principal, http_status, problem_code, request_id
FROM {{tables.audit}}
WHERE module = $1 AND path IN ('/modules/{module}/migrate', '/ui/modules/{module}/migrate') AND run_id IS NULL AND problem_code IS NOT NULL
  AND ($2::timestamptz IS NULL OR at > $2)
ORDER BY id DESC
LIMIT 1
