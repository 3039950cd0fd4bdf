"""The kind of a statement as an SQL command."""

from __future__ import annotations

import pytest

from pgdbm.pgparse.labels import label_of

from .trees import one


@pytest.mark.parametrize(
    ("sql", "label"),
    [
        ("SELECT 1", "SELECT"),
        ("INSERT INTO t VALUES (1)", "INSERT"),
        ("UPDATE t SET a = 1", "UPDATE"),
        ("DELETE FROM t", "DELETE"),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", "MERGE"),
        ("DO $$ BEGIN END $$", "DO"),
        ("CALL p()", "CALL"),
        ("CREATE TABLE t (a int)", "CREATE TABLE"),
        ("CREATE TEMP TABLE t (a int)", "CREATE TEMPORARY TABLE"),
        ("CREATE TABLE t PARTITION OF p DEFAULT", "CREATE TABLE PARTITION OF"),
        ("CREATE TABLE t AS SELECT 1", "CREATE TABLE AS"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1", "CREATE MATERIALIZED VIEW"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "CREATE OR REPLACE VIEW"),
        ("CREATE INDEX i ON t (a)", "CREATE INDEX"),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", "CREATE UNIQUE INDEX CONCURRENTLY"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ''", "CREATE FUNCTION"),
        ("CREATE OR REPLACE PROCEDURE p() LANGUAGE sql AS ''", "CREATE OR REPLACE PROCEDURE"),
        ("CREATE AGGREGATE a (int) (sfunc = f, stype = int)", "CREATE AGGREGATE"),
        ("CREATE TYPE e AS ENUM ()", "CREATE TYPE"),
        ("CREATE TYPE c AS (a int)", "CREATE TYPE"),
        ("CREATE TYPE r AS RANGE (subtype = int)", "CREATE TYPE"),
        ("CREATE DOMAIN d AS int", "CREATE DOMAIN"),
        ("CREATE SEQUENCE s", "CREATE SEQUENCE"),
        ("CREATE SCHEMA s", "CREATE SCHEMA"),
        ("CREATE EXTENSION e", "CREATE EXTENSION"),
        ("CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()", "CREATE TRIGGER"),
        ("CREATE RULE r AS ON INSERT TO t DO NOTHING", "CREATE RULE"),
        ("CREATE POLICY p ON t", "CREATE POLICY"),
        ("CREATE STATISTICS s ON a, b FROM t", "CREATE STATISTICS"),
        ("CREATE ROLE r", "CREATE ROLE"),
        ("CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)", "CREATE TEXT SEARCH CONFIGURATION"),
        ("CREATE SERVER s FOREIGN DATA WRAPPER w", "CREATE SERVER"),
        ("CREATE FOREIGN TABLE t (a int) SERVER s", "CREATE FOREIGN TABLE"),
        ("CREATE DATABASE d", "CREATE DATABASE"),
        ("DROP TABLE t", "DROP TABLE"),
        ("DROP MATERIALIZED VIEW v", "DROP MATERIALIZED VIEW"),
        ("DROP INDEX CONCURRENTLY i", "DROP INDEX CONCURRENTLY"),
        ("DROP OPERATOR CLASS c USING btree", "DROP OPERATOR CLASS"),
        ("DROP FOREIGN DATA WRAPPER w", "DROP FOREIGN DATA WRAPPER"),
        ("ALTER TYPE e ADD VALUE 'a'", "ALTER TYPE ADD VALUE"),
        ("ALTER TYPE e RENAME VALUE 'a' TO 'b'", "ALTER TYPE RENAME VALUE"),
        ("ALTER SEQUENCE s RESTART", "ALTER SEQUENCE"),
        ("ALTER FUNCTION f OWNER TO r", "ALTER FUNCTION OWNER TO"),
        ("ALTER TABLE t SET SCHEMA s", "ALTER TABLE SET SCHEMA"),
        ("ALTER TABLE t RENAME TO u", "ALTER TABLE RENAME"),
        ("ALTER TABLE t RENAME COLUMN a TO b", "ALTER TABLE RENAME COLUMN"),
        ("ALTER TABLE t RENAME CONSTRAINT a TO b", "ALTER TABLE RENAME CONSTRAINT"),
        ("ALTER TYPE c RENAME ATTRIBUTE a TO b", "ALTER TYPE RENAME ATTRIBUTE"),
        ("COMMENT ON COLUMN t.a IS 'x'", "COMMENT ON COLUMN"),
        ("COMMENT ON CONSTRAINT c ON t IS 'x'", "COMMENT ON CONSTRAINT"),
        ("GRANT SELECT ON t TO r", "GRANT"),
        ("REVOKE SELECT ON t FROM r", "REVOKE"),
        ("GRANT a TO b", "GRANT"),
        ("REINDEX TABLE t", "REINDEX TABLE"),
        ("REINDEX (CONCURRENTLY) INDEX i", "REINDEX INDEX CONCURRENTLY"),
        ("VACUUM t", "VACUUM"),
        ("VACUUM (FULL) t", "VACUUM FULL"),
        ("VACUUM (FULL false) t", "VACUUM"),
        ("ANALYZE t", "ANALYZE"),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", "REFRESH MATERIALIZED VIEW CONCURRENTLY"),
        ("COPY t FROM STDIN", "COPY FROM"),
        ("COPY t TO STDOUT", "COPY TO"),
        ("TRUNCATE t", "TRUNCATE"),
        ("LOCK TABLE t", "LOCK TABLE"),
        ("BEGIN", "BEGIN"),
        ("ROLLBACK TO SAVEPOINT s", "ROLLBACK TO"),
        ("COMMIT PREPARED 'x'", "COMMIT PREPARED"),
        ("SET work_mem = 1", "SET"),
        ("RESET work_mem", "RESET"),
        ("RESET ALL", "RESET"),
        ("SHOW work_mem", "SHOW"),
        ("SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS"),
        ("CHECKPOINT", "CHECKPOINT"),
        ("SECURITY LABEL ON TABLE t IS 'x'", "SECURITY LABEL"),
    ],
)
def test_the_words_of_a_statement(sql: str, label: str) -> None:
    assert label_of(*one(sql)) == label


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ("ADD COLUMN b int", "ADD COLUMN"),
        ("DROP COLUMN b", "DROP COLUMN"),
        ("ALTER COLUMN b TYPE text", "ALTER COLUMN TYPE"),
        ("ALTER COLUMN b SET DEFAULT 1", "SET DEFAULT"),
        ("ALTER COLUMN b DROP DEFAULT", "DROP DEFAULT"),
        ("ALTER COLUMN b SET NOT NULL", "SET NOT NULL"),
        ("ALTER COLUMN b ADD GENERATED ALWAYS AS IDENTITY", "ADD GENERATED AS IDENTITY"),
        ("ADD CHECK (b > 0)", "ADD CHECK"),
        ("ADD CHECK (b > 0) NOT VALID", "ADD CHECK NOT VALID"),
        ("ADD FOREIGN KEY (b) REFERENCES o", "ADD FOREIGN KEY"),
        ("ADD FOREIGN KEY (b) REFERENCES o NOT VALID", "ADD FOREIGN KEY NOT VALID"),
        ("ADD PRIMARY KEY USING INDEX i", "ADD PRIMARY KEY USING INDEX"),
        ("ADD UNIQUE (b)", "ADD UNIQUE"),
        ("VALIDATE CONSTRAINT c", "VALIDATE CONSTRAINT"),
        ("ATTACH PARTITION p DEFAULT", "ATTACH PARTITION"),
        ("DETACH PARTITION p CONCURRENTLY", "DETACH PARTITION CONCURRENTLY"),
        ("DETACH PARTITION p FINALIZE", "DETACH PARTITION FINALIZE"),
        ("ENABLE ROW LEVEL SECURITY", "ENABLE ROW LEVEL SECURITY"),
        ("SET (fillfactor = 70)", "SET"),
        ("SET TABLESPACE s", "SET TABLESPACE"),
        ("OWNER TO r", "OWNER TO"),
        ("INHERIT p", "INHERIT"),
        ("NO INHERIT p", "NO INHERIT"),
        ("ADD COLUMN b int, ADD COLUMN c int", "ADD COLUMN"),
        ("ADD COLUMN b int, DROP COLUMN c, ALTER d SET NOT NULL", "ADD COLUMN, DROP COLUMN, SET NOT NULL"),
        (
            "ADD COLUMN b int, DROP COLUMN c, ALTER d SET NOT NULL, OWNER TO r",
            "ADD COLUMN, DROP COLUMN, SET NOT NULL, …",
        ),
    ],
)
def test_alter_table_is_shown_with_its_first_subcommands(change: str, label: str) -> None:
    assert label_of(*one(f"ALTER TABLE t {change}")) == f"ALTER TABLE {label}"


@pytest.mark.parametrize(
    ("sql", "label"),
    [
        ("ALTER TYPE c ADD ATTRIBUTE b int", "ALTER TYPE ADD ATTRIBUTE"),
        ("ALTER INDEX i SET TABLESPACE s", "ALTER INDEX SET TABLESPACE"),
        ("ALTER MATERIALIZED VIEW v OWNER TO r", "ALTER MATERIALIZED VIEW OWNER TO"),
        ("ALTER FOREIGN TABLE t ADD COLUMN b int", "ALTER FOREIGN TABLE ADD COLUMN"),
    ],
)
def test_the_object_that_is_altered_is_named(sql: str, label: str) -> None:
    assert label_of(*one(sql)) == label
