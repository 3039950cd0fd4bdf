-- has_columns: part of a statement: the table has the columns $2, all of built-in types
-- Other tools have tables with this name, too. Reading a column of a user-defined type may call a function.
-- The names are cast in a query of their own: once, and not for each column of each table.
c.relkind IN ('r', 'p')
AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = c.oid AND a.attnum > 0::smallint AND NOT a.attisdropped AND a.atttypid < 16384::oid
       AND a.attname = ANY ((SELECT $2::text[]::name[])::name[])) = pg_catalog.cardinality($2::text[])

-- is_own: part of a statement: {{table}} belongs to the database user, which is not itself one of the logins
($4::text[] IS NOT NULL
 AND {{table}}.relowner = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user))

-- may_read: part of a statement: {{table}} may be read, and belongs to a role that the database user, but none of the
-- logins $4, is a member of; null: the database user is itself a login. Row security policies of another owner would run
-- as the service's database user. So would functions in the expressions of indexes and constraints, which the planner
-- evaluates.
pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege({{table}}.oid, 'SELECT')
AND pg_catalog.pg_has_role({{table}}.relowner, 'MEMBER')
AND ({{is_own}}
     OR NOT {{table}}.relrowsecurity AND NOT {{table}}.relhasrules AND NOT {{table}}.relhassubclass AND {{table}}.relchecks = 0::smallint
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i
                        WHERE i.indrelid = {{table}}.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)))
AND (COALESCE(pg_catalog.cardinality($4::text[]), 0) = 0
     OR NOT EXISTS (SELECT FROM pg_catalog.pg_roles l
                    WHERE l.rolname = ANY ($4::text[]::name[]) AND pg_catalog.pg_has_role(l.oid, {{table}}.relowner, 'MEMBER')))

-- locked: part of a statement: the relations that a session has locked exclusively, or is waiting to
-- Reading them would wait until that session's transaction ends.
SELECT l.relation FROM pg_catalog.pg_locks l
WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())

-- is_huge: part of a statement: whether the table has more rows than a real history; a file can insert any number of
-- rows. The size functions would wait for a lock, and other numbers are only as recent as the last VACUUM.
(COALESCE(pg_catalog.pg_stat_get_live_tuples({{table}}.oid), 0)
 + COALESCE(pg_catalog.pg_stat_get_dead_tuples({{table}}.oid), 0) > 100000)

-- login_of_schema: one of the logins $2 that owns the schema $1, or can become its owner
SELECT l.rolname::text FROM pg_catalog.pg_namespace n
JOIN pg_catalog.pg_roles l ON l.rolname = ANY ($2::text[]::name[])
WHERE n.nspname = $1::text::name AND pg_catalog.pg_has_role(l.oid, n.nspowner, 'MEMBER') ORDER BY 1 LIMIT 1

-- tables: the schemas with a table $1 that has the columns $2 and may be read now; not the service's own schema $3
SELECT n.nspname AS schema
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1::name AND n.nspname !~ '^pg_'::text AND n.nspname <> $3::name AND {{may_read}} AND {{has_columns}}
  AND c.oid NOT IN ({{locked}}) AND NOT {{is_huge}}

-- tables_by_name: the same, ordered by name
{{tables}} ORDER BY n.nspname

-- count_tables: the number of such schemas, counted up to $5
SELECT pg_catalog.count(*) FROM ({{tables}} LIMIT $5::bigint) AS found

-- tables_among: which of the schemas $5 have a table $1 with the columns $2, whether it may be read, whether there is
-- also a table $6 that may be read, and whether reading the two would take long. From the schemas to the tables,
-- regardless of the planner's estimates: with thousands of tables of one name, starting from the tables takes as long
-- for a hundred schemas as for all.
WITH wanted AS MATERIALIZED (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
    WHERE nspname = ANY ($5::text[]::name[]) AND nspname !~ '^pg_'::text AND nspname <> $3::name
),
locked AS MATERIALIZED ({{locked}})
SELECT n.nspname AS schema, {{may_read}} AS readable, j.oid IS NOT NULL AS has_journal,
       c.oid IN (SELECT relation FROM locked) OR COALESCE(j.oid IN (SELECT relation FROM locked), false)
       OR {{is_huge}} OR {{is_huge_journal}} AS slow
FROM wanted n
CROSS JOIN LATERAL (SELECT * FROM pg_catalog.pg_class WHERE relname = $1::name AND relnamespace = n.oid OFFSET 0) AS c
LEFT JOIN LATERAL (SELECT oid FROM pg_catalog.pg_class j
                   WHERE j.relname = $6::name AND j.relnamespace = n.oid AND j.relkind = 'r'
                     AND {{may_read_journal}} OFFSET 0) AS j ON true
WHERE {{has_columns}}

-- readable_among: those schemas of $5 whose table may be read, quickly; the columns are checked {{unless_own}}: the
-- columns of the database user's own tables need not be checked, which takes half the time for thousands of them. If
-- one is missing, reading the table fails.
WITH wanted AS MATERIALIZED (
    SELECT oid, nspname FROM pg_catalog.pg_namespace
    WHERE nspname = ANY ($5::text[]::name[]) AND nspname !~ '^pg_'::text AND nspname <> $3::name
)
SELECT pg_catalog.array_agg(n.nspname::text)
FROM wanted n
CROSS JOIN LATERAL (SELECT * FROM pg_catalog.pg_class WHERE relname = $1::name AND relnamespace = n.oid OFFSET 0) AS c
WHERE c.relkind IN ('r', 'p') AND {{may_read}} AND ({{unless_own}} OR {{has_columns}})
  AND c.oid NOT IN ({{locked}}) AND NOT {{is_huge}}

-- modules: the modules in the history of one schema, each with the number of its files and the last one
(SELECT {{number}} AS number, module_name,
       pg_catalog.count(*) AS applied,
       (pg_catalog.array_agg(filename ORDER BY id DESC))[1] AS last_filename
FROM (SELECT id, pg_catalog.left(module_name, 100) AS module_name, pg_catalog.left(filename, 255) AS filename
      FROM {{history}} WHERE module_name IS NOT NULL LIMIT 100000) AS read
GROUP BY module_name ORDER BY module_name LIMIT 1000)

-- count_applied: how many of the files $2 of the module $1 are applied in one schema: with the checksums $3, where
-- these are not null; and whether one of them is applied under the module's own name
SELECT {{number}} AS number, pg_catalog.count(*) AS applied,
       COALESCE(pg_catalog.bool_or(h.module_name IS NOT NULL), false) AS is_started
FROM {{history}} h
JOIN ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) AS f (filename, checksum)
  ON f.filename = h.filename AND (f.checksum = h.checksum OR f.checksum IS NULL)
WHERE h.module_name = $1 OR h.module_name IS NULL

-- rows: part of a statement: the rows of one history
SELECT {{number}}, filename, checksum, module_name FROM {{history}}

-- incomplete: of the histories 0 to $4 - 1, those that do not have all of the files $2 of the module $1: with the
-- checksums $3, where these are not null; and whether one of them is applied under the module's own name. A single join
-- for all histories: the planner takes three times as long for a join per history. The text depends on the histories
-- alone, so that the client keeps it prepared.
SELECT s.number, COALESCE(c.is_started, false) AS is_started
FROM pg_catalog.generate_series(0, $4::integer - 1) AS s (number)
LEFT JOIN (
    SELECT h.number, pg_catalog.count(DISTINCT f.filename) AS applied,
           pg_catalog.bool_or(h.module_name IS NOT NULL) AS is_started
    FROM ({{rows}}) AS h (number, filename, checksum, module_name)
    JOIN ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) AS f (filename, checksum)
      ON f.filename = h.filename::text AND (f.checksum = h.checksum::text OR f.checksum IS NULL)
    WHERE h.module_name::text = $1::text OR h.module_name IS NULL
    GROUP BY h.number
) AS c ON c.number = s.number
WHERE COALESCE(c.applied, 0) < pg_catalog.cardinality($2::text[])

-- keep_plans: plan a prepared statement only once, not for each set of parameters
SET plan_cache_mode = force_generic_plan

-- applied: part of a statement: the rows of a module in the history of one schema, no more than a real history has
FROM (SELECT pg_catalog.left(filename, 255) AS filename, pg_catalog.left(checksum, 64) AS checksum FROM {{history}}
      WHERE module_name = ($1::text[])[{{number}}] OR module_name IS NULL LIMIT 100000) AS applied

-- attempts: part of a statement: the last event of each file that was attempted and is not applied
-- Once a file is applied, it does not matter how an attempt at it ended.
FROM (SELECT DISTINCT ON (filename) pg_catalog.left(filename, 255) AS filename, event FROM {{journal}}
      WHERE module = ($1::text[])[{{number}}] AND event <> 'connection_lost' ORDER BY filename, id DESC) AS latest
WHERE event IN ('failed', 'started', 'applied') AND filename NOT IN (SELECT filename {{applied}})

-- attempts_as_text: part of a statement: the attempts in the form that goes into the digest
COALESCE((SELECT pg_catalog.string_agg(filename || ' ' || event, E'\n' ORDER BY filename COLLATE "C") {{attempts}}), '')

-- attempts_as_array: part of a statement: the attempts as an array
ARRAY(SELECT filename || ' ' || event {{attempts}} ORDER BY filename COLLATE "C")

-- applied_set_digest: the digest of what is applied of the module $1[number] in one schema
SELECT {{number}} AS number, pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
    COALESCE((SELECT pg_catalog.string_agg(filename || ' ' || checksum, E'\n'
                                           ORDER BY filename COLLATE "C", checksum COLLATE "C") {{applied}}), '')
    || E'\n\n' || {{attempts}}, 'UTF8')), 'hex') AS digest

-- applied_set: what is applied of the module $1[number] in one schema, and how attempts at other files ended
SELECT {{number}} AS number,
       ARRAY(SELECT filename || ' ' || checksum {{applied}}
             ORDER BY filename COLLATE "C", checksum COLLATE "C") AS applied,
       {{attempts}} AS attempts

-- same_files: the other modules in the history of one schema that have files with the names $2 and the checksums $3:
-- how many of how many, and whether any file of the module $1 is applied
SELECT {{number}} AS number, h.module_name::text AS module, pg_catalog.count(f.filename) AS same,
       pg_catalog.count(*) AS applied,
       EXISTS (SELECT FROM {{history}} own WHERE own.module_name::text = $1::text) AS is_started
FROM {{history}} h
LEFT JOIN ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) AS f (filename, checksum)
  ON f.filename = h.filename::text AND f.checksum = h.checksum::text
WHERE h.module_name::text <> $1::text
GROUP BY h.module_name::text HAVING pg_catalog.count(f.filename) > 0
