-- session_user: the connecting user; no row for a superuser, who needs no privilege
SELECT pg_catalog.quote_ident(session_user)
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = session_user AND rolsuper)

-- elsewhere: the schema, and the extension if any, of an object with that name
WITH named (classid, oid, schema) AS (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::oid, oid, relnamespace
    FROM pg_catalog.pg_class WHERE relname = $1::name
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass::oid, oid, typnamespace
    FROM pg_catalog.pg_type WHERE typname = $1::name
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::oid, oid, pronamespace
    FROM pg_catalog.pg_proc WHERE proname = $1::name
    UNION ALL
    SELECT 'pg_catalog.pg_opclass'::pg_catalog.regclass::oid, oid, opcnamespace
    FROM pg_catalog.pg_opclass WHERE opcname = $1::name
    UNION ALL
    SELECT 'pg_catalog.pg_ts_config'::pg_catalog.regclass::oid, oid, cfgnamespace
    FROM pg_catalog.pg_ts_config WHERE cfgname = $1::name
)
SELECT pg_catalog.quote_ident(n.nspname) || pg_catalog.chr(10) || COALESCE(pg_catalog.quote_ident(e.extname), '')
FROM named o
JOIN pg_catalog.pg_namespace n ON n.oid = o.schema
LEFT JOIN pg_catalog.pg_depend d ON d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE n.nspname <> 'pg_catalog' AND n.nspname <> 'information_schema'
ORDER BY e.oid IS NULL, n.nspname
LIMIT 1

-- read_only: a row if the session is read-only regardless of the file: on a standby, or by a setting of the role or the
-- database
SELECT 'read-only' WHERE pg_catalog.pg_is_in_recovery() OR (
    SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only') = 'on'
