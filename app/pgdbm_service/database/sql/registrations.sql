-- version: identifies what is registered now: a count of changes, and the id of the table, which may be recreated
SELECT version, tableoid::bigint AS table_id FROM {{tables.registry_version}}

-- lock: the version, locked, so that changes are made one after the other
SELECT version FROM {{tables.registry_version}} FOR UPDATE

-- count_change: a change of what is registered, which replicas are notified of
UPDATE {{tables.registry_version}} SET version = version + 1
RETURNING pg_catalog.pg_notify('pgdbm_service_registry', '')

-- modules: every registered module with the digest of its bundle
SELECT name, digest FROM {{tables.modules}} ORDER BY name

-- digest_of: the digest of the bundle of the module $1
SELECT digest FROM {{tables.modules}} WHERE name = $1

-- counts: the numbers that the limits apply to, for the principal $1; and in how many seconds the oldest registration
-- of the last hour no longer counts
SELECT (SELECT pg_catalog.count(*) FROM {{tables.modules}}) AS modules,
       (SELECT pg_catalog.count(*) FROM {{tables.modules}} WHERE registered_by = $1) AS modules_of_principal,
       pg_catalog.count(*) AS within_hour,
       pg_catalog.ceil(EXTRACT(epoch FROM pg_catalog.min(registered_at) + interval '1 hour' - pg_catalog.now()))::integer
           AS next_s
FROM {{tables.registrations}} WHERE registered_by = $1 AND registered_at > pg_catalog.now() - interval '1 hour'

-- last_settings: the settings in the bundle that the module $1 was last registered with
SELECT b.settings FROM {{tables.registrations}} r JOIN {{tables.bundles}} b USING (digest)
WHERE r.module = $1 ORDER BY r.id DESC LIMIT 1

-- settings: the settings in the bundles $1
SELECT digest, settings FROM {{tables.bundles}} WHERE digest = ANY ($1::text[])

-- files: the files in the bundles $1, each with its hash when it was stored
SELECT f.digest, f.filename, f.hash, c.content
FROM {{tables.bundle_files}} f JOIN {{tables.file_contents}} c USING (hash)
WHERE f.digest = ANY ($1::text[])

-- contents: files that were registered at some time and have the checksums $1, one for each
SELECT DISTINCT ON (checksum) checksum, content FROM {{tables.file_contents}} WHERE checksum = ANY ($1::text[])

-- store_bundle: the bundle $1 with the settings $2, unless it is already stored. Its files are $3 to $6 (names, hashes,
-- checksums, contents), and those of the stored bundle $8, except for the names $9. Unless $7, the commit does not wait
-- for the disk: nothing refers to the bundle yet, and whatever does later has a commit of its own, which flushes this
-- one, too
WITH bundle AS (
    INSERT INTO {{tables.bundles}} (digest, settings)
    SELECT $1, $2::jsonb
    WHERE ($8::text IS NULL OR EXISTS (SELECT FROM {{tables.bundles}} WHERE digest = $8))
          AND ($7 OR pg_catalog.set_config('synchronous_commit', 'off', true) = 'off')
    ON CONFLICT DO NOTHING RETURNING digest
), sent AS (
    SELECT filename, hash, checksum, content
    FROM bundle, ROWS FROM (
        pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]),
        pg_catalog.unnest($5::text[]), pg_catalog.unnest($6::text[])
    ) AS sent (filename, hash, checksum, content)
), contents AS (
    -- In order: concurrent transactions that insert the same contents do not deadlock.
    INSERT INTO {{tables.file_contents}} (hash, checksum, content)
    SELECT hash, checksum, content FROM sent ORDER BY hash
    ON CONFLICT DO NOTHING
)
INSERT INTO {{tables.bundle_files}} (digest, filename, hash)
SELECT $1, filename, hash FROM sent
UNION ALL
SELECT $1, like_it.filename, like_it.hash
FROM bundle, {{tables.bundle_files}} like_it WHERE like_it.digest = $8 AND like_it.filename <> ALL ($9::text[])

-- register: make $2 the bundle of the module $1; $3 is the principal
WITH entry AS (
    INSERT INTO {{tables.registrations}} (module, digest, registered_by) VALUES ($1, $2, $3)
)
INSERT INTO {{tables.modules}} (name, digest, registered_by) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE
SET digest = EXCLUDED.digest, registered_by = EXCLUDED.registered_by, registered_at = pg_catalog.now()

-- unregister: remove the registration of the module $1
DELETE FROM {{tables.modules}} WHERE name = $1

-- bundles: the registrations of the module $1 before the id $2, newest first, at most $3
SELECT id, digest, registered_at, registered_by, current
FROM (SELECT r.id, r.digest, r.registered_at, r.registered_by,
             m.digest IS NOT NULL AND r.id = pg_catalog.max(r.id) OVER () AS current
      FROM {{tables.registrations}} r LEFT JOIN {{tables.modules}} m ON m.name = r.module
      WHERE r.module = $1) AS of_module
WHERE $2::bigint IS NULL OR id < $2
ORDER BY id DESC LIMIT $3
