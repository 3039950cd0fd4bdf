-- open: begin, the settings of a transaction that migrates, and the lock: taken, or an error with a value that we
-- recognise in any language. SET LOCAL costs a quarter of set_config(), and there is one of these for every migration.
BEGIN;
{{lock_timeout}}
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
{{no_transaction_timeout}}
{{no_wait_for_disk}}
SELECT CASE WHEN pg_catalog.pg_try_advisory_xact_lock({{key}})
            THEN pg_catalog.set_config('pgdbm.began', EXTRACT(epoch FROM pg_catalog.clock_timestamp())::text, true)
            ELSE pg_catalog.set_config('pgdbm.refused', 'pgdbm:lock-held', true)::integer::text END,
       pg_catalog.set_config('pgdbm.done', {{done}}, false)

-- lock_timeout: how long a statement waits for locks of others, in milliseconds
SET LOCAL lock_timeout = {{milliseconds}};

-- no_transaction_timeout: from PostgreSQL 17 a transaction has a time limit of its own
SET LOCAL transaction_timeout = 0;

-- no_wait_for_disk: this commit need not wait for it; the last one of the run does, and with it all before
SET LOCAL synchronous_commit = off;

-- done: after a failure, how far a message came: the session keeps what committed transactions set. In the same
-- message as ROLLBACK, so that a transaction pooler cannot put another session between; the answer is in the error.
ROLLBACK;
SELECT pg_catalog.current_setting('pgdbm.done', true)::integer

-- look: fail if the migration is applied by now; a statement of its own, since its snapshot must follow the lock
SELECT pg_catalog.set_config('pgdbm.refused', 'pgdbm:already-applied', true)::integer
FROM {{history}}
WHERE filename = {{filename}} AND (module_name = {{module}} OR module_name IS NULL)

-- look_repeatable: fail if this content of the migration is applied by now
SELECT pg_catalog.set_config('pgdbm.refused', 'pgdbm:already-applied', true)::integer
FROM {{history}}
WHERE filename = {{filename}} AND (module_name = {{module}} OR module_name IS NULL) AND checksum = {{checksum}}

-- record_repeatable: the history row, or what is new about it
INSERT INTO {{history}} AS history (filename, checksum, module_name, applied_at, execution_time_ms)
VALUES ({{filename}}, {{checksum}}, {{module}}, pg_catalog.clock_timestamp(),
        1000 * (EXTRACT(epoch FROM pg_catalog.clock_timestamp())
                - NULLIF(pg_catalog.current_setting('pgdbm.began', true), '')::numeric))
ON CONFLICT (filename, module_name) DO UPDATE
SET checksum = EXCLUDED.checksum, applied_at = EXCLUDED.applied_at, applied_by = EXCLUDED.applied_by,
    execution_time_ms = EXCLUDED.execution_time_ms

-- record: the history row, in the same transaction as the migration
INSERT INTO {{history}} (filename, checksum, module_name, applied_at, execution_time_ms)
VALUES ({{filename}}, {{checksum}}, {{module}}, pg_catalog.clock_timestamp(),
        1000 * (EXTRACT(epoch FROM pg_catalog.clock_timestamp())
                - NULLIF(pg_catalog.current_setting('pgdbm.began', true), '')::numeric))

-- session_settings: the settings of a session that migrates outside a transaction
SELECT pg_catalog.set_config('lock_timeout', '0', false),
       pg_catalog.set_config('statement_timeout', '0', false),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '0', false)

-- enter_role: what follows in this transaction runs as the module's role
SET LOCAL ROLE {{role}}

-- enter_role_of_session: what follows in this session does
SET ROLE {{role}}

-- leave_role: back to our own user
RESET ROLE

-- grant_schema: let the module's role make things in the module's schema, where it may not yet
GRANT USAGE, CREATE ON SCHEMA {{schema}} TO {{role}}

-- may_create: whether a role may make things in a schema
SELECT pg_catalog.has_schema_privilege($1, $2, 'USAGE') AND pg_catalog.has_schema_privilege($1, $2, 'CREATE')

-- reset_role: back to the user that we connected as
RESET SESSION AUTHORIZATION;
RESET ROLE
