-- Operators and types are qualified in whatever is sent between an author's statements: a file may put any schema in
-- front of pg_catalog, or create an operator whose types match the operands better.

-- open: begin, the settings of a migrating transaction, and the lock. SET LOCAL costs a quarter of set_config(), and it
-- runs for every migration.
{{begin}};
{{settings}}
{{lock}}

-- lock: take the lock; if it is not free, an error with a value that is recognized in any language. clock_timestamp()
-- and not now(): in a message with several transactions, now() is the time at which the message arrived, in each of
-- them.
SELECT CASE WHEN pg_catalog.pg_try_advisory_xact_lock({{key}})
            THEN pg_catalog.set_config('pgdbm.began',
                                       EXTRACT(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.text, true)
            ELSE pg_catalog.set_config('pgdbm.refused', 'pgdbm:lock-held', true)::integer::pg_catalog.text END,
       pg_catalog.set_config('pgdbm.done', {{done}}, false)

-- reopen: what another migration in the same transaction needs, if the session was cleaned before it
{{settings}}
SELECT pg_catalog.set_config('pgdbm.began',
                             EXTRACT(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.text, true)

-- settings: no time limits except for locks
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;

-- lock_timeout: how long a statement waits for a lock, in milliseconds
SET LOCAL lock_timeout = {{milliseconds}};

-- no_transaction_timeout: from PostgreSQL 17 a transaction has a time limit of its own
SET LOCAL transaction_timeout = 0;

-- asynchronous_commit: the last commit of a run is synchronous, and flushes all before it
SET LOCAL synchronous_commit = off;

-- prepare: what is executed for each file of a message, so that the server parses and plans it once
PREPARE pgdbm_lock_{{token}} (pg_catalog.text) AS
{{lock}};
PREPARE pgdbm_probe_{{token}} (pg_catalog.text) AS
{{probe}};
PREPARE pgdbm_record_{{token}} (pg_catalog.text, pg_catalog.text) AS
{{record}};

-- deallocate_own: remove it at the end of the message
DEALLOCATE pgdbm_lock_{{token}};
DEALLOCATE pgdbm_probe_{{token}};
DEALLOCATE pgdbm_record_{{token}};

-- execute_lock: the prepared form of "lock"
EXECUTE pgdbm_lock_{{token}} ({{done}})

-- execute_probe: the prepared form of "probe"
EXECUTE pgdbm_probe_{{token}} ({{filename}})

-- execute_record: the prepared form of "record"
EXECUTE pgdbm_record_{{token}} ({{filename}}, {{checksum}})

-- done: after a failure, how many transactions of a message were committed: each of them sets it in the session. In the
-- same message as ROLLBACK, so that a transaction pooler cannot assign another session in between; the answer is in the
-- error.
ROLLBACK;
{{cleanup}}
SELECT pg_catalog.current_setting('pgdbm.done', true)::integer

-- probe: fail if the migration has been applied; a statement of its own, because its snapshot must be taken after the
-- lock
SELECT pg_catalog.set_config('pgdbm.refused', 'pgdbm:already-applied', true)::integer
FROM {{history}}
WHERE filename OPERATOR(pg_catalog.=) {{filename}}::pg_catalog.text
  AND (module_name OPERATOR(pg_catalog.=) {{module}}::pg_catalog.text OR module_name IS NULL)

-- probe_repeatable: fail if this content of the migration has been applied
SELECT pg_catalog.set_config('pgdbm.refused', 'pgdbm:already-applied', true)::integer
FROM {{history}}
WHERE filename OPERATOR(pg_catalog.=) {{filename}}::pg_catalog.text
  AND (module_name OPERATOR(pg_catalog.=) {{module}}::pg_catalog.text OR module_name IS NULL)
  AND checksum OPERATOR(pg_catalog.=) {{checksum}}::pg_catalog.text

-- probe_history: fail if the history is not the one with this digest, which the plan to apply was compared with
SELECT CASE WHEN pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(COALESCE(
                pg_catalog.string_agg(one.digest, '' ORDER BY one.digest COLLATE pg_catalog."C"), ''), 'UTF8')), 'hex')
            OPERATOR(pg_catalog.<>) {{digest}}::pg_catalog.text
            THEN pg_catalog.set_config('pgdbm.refused', 'pgdbm:already-applied', true)::integer END
FROM (SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
                 pg_catalog.concat(pg_catalog."left"(filename, 255), pg_catalog.chr(10), pg_catalog."left"(checksum, 64)),
                 'UTF8')), 'hex') AS digest
      FROM {{history}}
      WHERE module_name OPERATOR(pg_catalog.=) {{module}}::pg_catalog.text OR module_name IS NULL) AS one

-- own_user_again: return to the connecting user, whatever role the file has set
RESET SESSION AUTHORIZATION;
RESET ROLE

-- check_deferred: fire the deferred triggers of a migration that is followed by others in the same transaction, and
-- defer the constraints again for those
SAVEPOINT pgdbm_deferred;
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO SAVEPOINT pgdbm_deferred;
RELEASE SAVEPOINT pgdbm_deferred

-- fire_deferred: fire the deferred triggers while user and settings are still those of the file
SET CONSTRAINTS ALL IMMEDIATE

-- close_cursors: the query of a cursor WITH HOLD would run at COMMIT, as whichever user is current then
CLOSE ALL

-- owned: fail if the history is no longer a table of the connecting user: as its owner, the module's role could have
-- added a trigger that fires as that user
SELECT pg_catalog.set_config('pgdbm.refused', 'pgdbm:not-our-table', true)::integer
FROM pg_catalog.pg_class
WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({{table_literal}})::pg_catalog.oid
  AND (relkind OPERATOR(pg_catalog.<>) 'r'::pg_catalog."char"
       OR pg_catalog.pg_get_userbyid(relowner) OPERATOR(pg_catalog.<>) current_user
          AND pg_catalog.pg_has_role({{role}}::pg_catalog.name, relowner, 'MEMBER'))

-- record: the history row, in the transaction of the migration. It returns the time that is in it.
INSERT INTO {{history}} (filename, checksum, module_name, applied_at, execution_time_ms)
VALUES ({{filename}}, {{checksum}}, {{module}}, pg_catalog.timezone('UTC', pg_catalog.clock_timestamp()), {{elapsed}})
RETURNING pg_catalog.concat('pgdbm:took:', execution_time_ms, ':', filename)

-- record_repeatable: insert the history row, or update it
INSERT INTO {{history}} AS history (filename, checksum, module_name, applied_at, execution_time_ms)
VALUES ({{filename}}, {{checksum}}, {{module}}, pg_catalog.timezone('UTC', pg_catalog.clock_timestamp()), {{elapsed}})
ON CONFLICT (filename, module_name) DO UPDATE
SET checksum = EXCLUDED.checksum, applied_at = EXCLUDED.applied_at, applied_by = EXCLUDED.applied_by,
    execution_time_ms = EXCLUDED.execution_time_ms
RETURNING pg_catalog.concat('pgdbm:took:', execution_time_ms, ':', filename)

-- elapsed: milliseconds since the migration began, or since its transaction began if the file has reset the setting
1000::numeric OPERATOR(pg_catalog.*) (
    EXTRACT(epoch FROM pg_catalog.clock_timestamp())::numeric OPERATOR(pg_catalog.-)
    CASE WHEN pg_catalog.length(pg_catalog.current_setting('pgdbm.began', true)) OPERATOR(pg_catalog.>) 0
         THEN pg_catalog.current_setting('pgdbm.began', true)::numeric
         ELSE EXTRACT(epoch FROM pg_catalog.now())::numeric END)

-- clean: what a file may have left in the session. Not DISCARD ALL, which cannot run in a transaction block, and would
-- take asyncpg's prepared statements with it. RESET ALL does not reset roles.
RESET SESSION AUTHORIZATION;
RESET ROLE;
RESET ALL;
SET client_encoding = 'UTF8';
CLOSE ALL;
UNLISTEN *;
DISCARD TEMP;
DISCARD SEQUENCES

-- release_locks: the advisory locks of the session
SELECT pg_catalog.pg_advisory_unlock_all()

-- deallocate: the statements that a file prepared with PREPARE; asyncpg prepares its own over the protocol
DO LANGUAGE plpgsql $pgdbm$
DECLARE
    prepared record;
BEGIN
    FOR prepared IN SELECT s.name FROM pg_catalog.pg_prepared_statements s WHERE s.from_sql LOOP
        EXECUTE pg_catalog.format('DEALLOCATE %I', prepared.name);
    END LOOP;
END $pgdbm$

-- session_settings: settings of a session that migrates outside transactions: no time limits
SET lock_timeout = 0;
SET statement_timeout = 0;
SET idle_session_timeout = 0;
SET idle_in_transaction_session_timeout = 0

-- no_transaction_timeout_of_session: as above, for the session
SET transaction_timeout = 0

-- file_path: what follows in this transaction finds unqualified names in the schema of the module
SET LOCAL search_path = {{path}}

-- file_path_of_session: as above, for the session
SET search_path = {{path}}

-- enter_role: what follows in this transaction runs as the module's role
SET LOCAL ROLE {{role}}

-- enter_role_of_session: what follows in this session runs as the module's role
SET ROLE {{role}}

-- leave_role: return to the connecting user; the query of a cursor WITH HOLD would run at COMMIT, as that user
CLOSE ALL;
RESET SESSION AUTHORIZATION;
RESET ROLE

-- own_path: for pgdbm's own queries in the transaction of a file that may have changed the search_path
SET LOCAL search_path = pg_catalog, pg_temp

-- own_user: the connecting user for the rest of the transaction; at its end the session has the user that the file
-- chose
SET LOCAL SESSION AUTHORIZATION DEFAULT;
SET LOCAL ROLE NONE

-- read_write: for a transaction in which pgdbm writes, in a session that a file may have made read-only
SET TRANSACTION READ WRITE

-- create_schema: a schema that is created for a module belongs to the connecting user, and the module's role may create
-- in it
CREATE SCHEMA {{schema}}

-- grant_schema: only together with create_schema: a schema that exists may be another module's
GRANT USAGE, CREATE ON SCHEMA {{schema}} TO {{role}}

-- schema_exists: no row unless the schema exists; whether a role may create in it
SELECT pg_catalog.has_schema_privilege($2::name, n.oid, 'USAGE')
       AND pg_catalog.has_schema_privilege($2::name, n.oid, 'CREATE') AS may_create
FROM pg_catalog.pg_namespace n WHERE n.nspname = $1::name

-- privileges: what an error about a missing privilege must name
SELECT pg_catalog.quote_ident(current_user) AS "user",
       pg_catalog.quote_ident(pg_catalog.current_database()) AS database,
       EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1::name) AS schema_exists,
       EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1::name AND c.relname = $2::name
                 AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')) AS table_exists,
       ARRAY(SELECT pg_catalog.concat(pg_catalog.quote_ident(n.nspname), '.', pg_catalog.quote_ident(c.relname))
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = $1::name AND c.relname = ANY ($3::text[]::name[])
               AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') ORDER BY c.relname)::text[] AS of_others

-- is_audited: whether an event trigger, or a trigger that calls current_query(), may record the text of a message: then
-- no file shares a message with others
SELECT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D')
       OR EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
                  WHERE NOT t.tgisinternal
                    AND pg_catalog.strpos(pg_catalog.lower(p.prosrc), 'current_query') > 0)
