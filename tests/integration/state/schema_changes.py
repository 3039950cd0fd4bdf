"""Changes of a schema and how each is listed, for the tests of the catalog."""

from __future__ import annotations

BASE = """
CREATE TABLE t (id integer PRIMARY KEY, name text, amount numeric(10, 2), spare text);
CREATE TABLE child (id integer, parent integer CONSTRAINT child_parent REFERENCES t);
CREATE TABLE measured (at date NOT NULL, value integer) PARTITION BY RANGE (at);
CREATE TABLE measured_2025 PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE measured_2026 (at date NOT NULL, value integer);
CREATE INDEX t_name ON t (name);
CREATE INDEX measured_value ON measured (value);
CREATE FUNCTION f(a integer) RETURNS integer LANGUAGE sql AS 'SELECT a + 1';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE p(a integer) LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION add_up(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT $1 + $2';
CREATE AGGREGATE total(integer) (SFUNC = add_up, STYPE = integer, INITCOND = '0');
CREATE TRIGGER t_stamp BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER measured_stamp BEFORE UPDATE ON measured FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE RULE t_rule AS ON DELETE TO t DO ALSO SELECT 1;
CREATE POLICY t_policy ON t FOR SELECT USING (id > 0);
CREATE VIEW v AS SELECT id, name FROM t;
CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t;
CREATE SEQUENCE s;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN positive AS integer CONSTRAINT positive_check CHECK (VALUE > 0);
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE span AS RANGE (SUBTYPE = float8);
CREATE STATISTICS t_both ON id, name FROM t;
CREATE COLLATION plain (LOCALE = 'C');
CREATE OPERATOR <+> (LEFTARG = integer, RIGHTARG = integer, FUNCTION = add_up);
CREATE TEXT SEARCH DICTIONARY words (TEMPLATE = simple);
CREATE TEXT SEARCH CONFIGURATION search (COPY = simple);
COMMENT ON TABLE t IS 'things';
"""

CHANGES: list[tuple[str, set[str]]] = [
    # Tables
    ("CREATE TABLE other ()", {"added table other"}),
    (
        "DROP TABLE child",
        {
            "removed table child",
            "removed constraint child.child_parent",
            "removed column child.id",
            "removed column child.parent",
        },
    ),
    ("ALTER TABLE t SET (fillfactor = 70)", {"changed table t"}),
    ("ALTER TABLE t SET (toast.autovacuum_enabled = off)", {"changed table t"}),
    ("ALTER TABLE measured_2026 SET UNLOGGED", {"changed table measured_2026"}),
    ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", {"changed table t"}),
    ("ALTER TABLE t FORCE ROW LEVEL SECURITY", {"changed table t"}),
    ("ALTER TABLE t REPLICA IDENTITY FULL", {"changed table t"}),
    ("ALTER TABLE t REPLICA IDENTITY USING INDEX t_pkey", {"changed table t", "changed constraint t.t_pkey"}),
    (
        "ALTER TABLE measured DETACH PARTITION measured_2025",
        {
            "changed table measured_2025",
            "changed column measured_2025.at",
            "changed column measured_2025.value",
            "changed index measured_2025_value_idx",
        },
    ),
    (
        "ALTER TABLE measured ATTACH PARTITION measured_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        {
            "changed table measured_2026",
            "changed column measured_2026.at",
            "changed column measured_2026.value",
            "added index measured_2026_value_idx",
        },
    ),
    ("CREATE TABLE heir () INHERITS (child)", {"added table heir", "added column heir.id", "added column heir.parent"}),
    # Columns
    ("ALTER TABLE t ADD COLUMN extra integer", {"added column t.extra"}),
    ("ALTER TABLE t DROP COLUMN spare", {"removed column t.spare"}),
    ("ALTER TABLE t RENAME COLUMN spare TO left_over", {"removed column t.spare", "added column t.left_over"}),
    ("ALTER TABLE t ALTER COLUMN amount TYPE numeric(12, 2)", {"changed column t.amount"}),
    ('ALTER TABLE t ALTER COLUMN spare TYPE text COLLATE "C"', {"changed column t.spare"}),
    ("ALTER TABLE t ALTER COLUMN spare SET NOT NULL", {"changed column t.spare"}),
    ("ALTER TABLE t ALTER COLUMN spare SET DEFAULT 'x'", {"changed column t.spare"}),
    ("ALTER TABLE t ALTER COLUMN spare SET STORAGE EXTERNAL", {"changed column t.spare"}),
    ("ALTER TABLE t ALTER COLUMN spare SET COMPRESSION pglz", {"changed column t.spare"}),
    ("ALTER TABLE t ALTER COLUMN spare SET STATISTICS 500", {"changed column t.spare"}),
    ("ALTER TABLE t ALTER COLUMN spare SET (n_distinct = 5)", {"changed column t.spare"}),
    (
        "ALTER TABLE t ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY",
        {"changed column t.id", "added sequence t_id_seq"},
    ),
    ("ALTER TABLE t ADD COLUMN twice integer GENERATED ALWAYS AS (id * 2) STORED", {"added column t.twice"}),
    ("ALTER TABLE t DROP COLUMN amount; ALTER TABLE t ADD COLUMN amount numeric(10, 2)", {"changed column order t"}),
    # Constraints
    ("ALTER TABLE t ADD CONSTRAINT t_check CHECK (id > 0)", {"added constraint t.t_check"}),
    ("ALTER TABLE child DROP CONSTRAINT child_parent", {"removed constraint child.child_parent"}),
    ("ALTER TABLE child ALTER CONSTRAINT child_parent DEFERRABLE", {"changed constraint child.child_parent"}),
    (
        "ALTER TABLE child DROP CONSTRAINT child_parent; ALTER TABLE child ADD CONSTRAINT child_parent "
        "FOREIGN KEY (parent) REFERENCES t NOT VALID",
        {"changed constraint child.child_parent"},
    ),
    ("ALTER TABLE child DISABLE TRIGGER ALL", {"changed constraint child.child_parent"}),
    ("ALTER TABLE child ADD UNIQUE (parent)", {"added constraint child.child_parent_key"}),
    ("ALTER INDEX t_pkey SET (fillfactor = 50)", {"changed constraint t.t_pkey"}),
    # Indexes
    ("CREATE UNIQUE INDEX t_spare ON t (spare)", {"added index t_spare"}),
    ("DROP INDEX t_name", {"removed index t_name"}),
    ("DROP INDEX t_name; CREATE INDEX t_name ON t (lower(name)) WHERE id > 0", {"changed index t_name"}),
    ("ALTER INDEX t_name SET (fillfactor = 50)", {"changed index t_name"}),
    ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_name'::regclass", {"changed index t_name"}),
    # Views
    ("CREATE VIEW w AS SELECT 1", {"added view w"}),
    ("DROP VIEW v", {"removed view v"}),
    ("CREATE OR REPLACE VIEW v AS SELECT id, name FROM t WHERE id > 1", {"changed view v"}),
    ("ALTER VIEW v SET (security_barrier)", {"changed view v"}),
    ("ALTER VIEW v ALTER COLUMN name SET DEFAULT 'x'", {"added view column v.name"}),
    ("DROP MATERIALIZED VIEW m", {"removed materialized view m"}),
    (
        "DROP MATERIALIZED VIEW m; CREATE MATERIALIZED VIEW m AS SELECT sum(id) AS n FROM t",
        {"changed materialized view m"},
    ),
    # Routines
    ("CREATE FUNCTION f(a text) RETURNS text LANGUAGE sql AS 'SELECT a'", {"added function f(text)"}),
    ("DROP FUNCTION f(integer)", {"removed function f(integer)"}),
    (
        "CREATE OR REPLACE FUNCTION f(a integer) RETURNS integer LANGUAGE sql AS 'SELECT a + 2'",
        {"changed function f(integer)"},
    ),
    ("ALTER FUNCTION f(integer) IMMUTABLE", {"changed function f(integer)"}),
    ("ALTER FUNCTION f(integer) SET work_mem = '8MB'", {"changed function f(integer)"}),
    ("ALTER FUNCTION f(integer) SECURITY DEFINER", {"changed function f(integer)"}),
    (
        "CREATE OR REPLACE FUNCTION f(a integer) RETURNS integer LANGUAGE sql RETURN a + 1",
        {"changed function f(integer)"},
    ),
    ("DROP PROCEDURE p(integer)", {"removed procedure p(integer)"}),
    ("DROP AGGREGATE total(integer)", {"removed aggregate total(integer)"}),
    (
        "DROP AGGREGATE total(integer); CREATE AGGREGATE total(integer) (SFUNC = add_up, STYPE = integer)",
        {"changed aggregate total(integer)"},
    ),
    # Triggers, rules, policies
    ("CREATE TRIGGER t_second AFTER INSERT ON t EXECUTE FUNCTION stamp()", {"added trigger t.t_second"}),
    ("ALTER TABLE t DISABLE TRIGGER t_stamp", {"changed trigger t.t_stamp"}),
    ("ALTER TABLE t ENABLE ALWAYS TRIGGER t_stamp", {"changed trigger t.t_stamp"}),
    ("ALTER TABLE measured_2025 DISABLE TRIGGER measured_stamp", {"added trigger measured_2025.measured_stamp"}),
    ("DROP TRIGGER measured_stamp ON measured", {"removed trigger measured.measured_stamp"}),
    ("ALTER TABLE t DISABLE RULE t_rule", {"changed rule t.t_rule"}),
    ("DROP RULE t_rule ON t", {"removed rule t.t_rule"}),
    ("ALTER POLICY t_policy ON t USING (id > 1)", {"changed policy t.t_policy"}),
    ("ALTER POLICY t_policy ON t TO pg_monitor", {"changed policy t.t_policy"}),
    # Sequences and types
    ("ALTER SEQUENCE s INCREMENT 5", {"changed sequence s"}),
    ("ALTER SEQUENCE s OWNED BY t.id", {"changed sequence s"}),
    ("DROP SEQUENCE s", {"removed sequence s"}),
    ("ALTER TYPE mood ADD VALUE 'glad' AFTER 'sad'", {"changed type mood"}),
    ("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", {"changed type mood"}),
    ("ALTER DOMAIN positive DROP CONSTRAINT positive_check", {"changed type positive"}),
    ("ALTER DOMAIN positive SET DEFAULT 3", {"changed type positive"}),
    ("ALTER TYPE pair ADD ATTRIBUTE c date", {"changed type pair"}),
    ("DROP TYPE span", {"removed type span"}),
    # The rest
    ("ALTER STATISTICS t_both SET STATISTICS 10", {"changed statistics t_both"}),
    ("DROP OPERATOR <+> (integer, integer)", {"removed operator <+>(integer,integer)"}),
    ("DROP COLLATION plain", {"removed collation plain"}),
    ("ALTER TEXT SEARCH DICTIONARY words (STOPWORDS = english)", {"changed text search dictionary words"}),
    ("ALTER TEXT SEARCH CONFIGURATION search DROP MAPPING FOR email", {"changed text search configuration search"}),
    ("CREATE EXTENSION hstore", {"added extension hstore"}),
    (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO pg_monitor",
        {"added default privileges postgres r"},
    ),
    # Comments, privileges, owners
    ("COMMENT ON TABLE t IS 'changed'", {"changed comment table t"}),
    ("COMMENT ON TABLE t IS NULL", {"removed comment table t"}),
    ("COMMENT ON COLUMN t.id IS 'number'", {"added comment column t.id"}),
    ("COMMENT ON COLUMN v.id IS 'number'", {"added comment view column v.id"}),
    ("COMMENT ON FUNCTION f(integer) IS 'one more'", {"added comment function f(integer)"}),
    ("COMMENT ON CONSTRAINT child_parent ON child IS 'x'", {"added comment constraint child.child_parent"}),
    ("COMMENT ON INDEX t_name IS 'x'", {"added comment index t_name"}),
    ("COMMENT ON TRIGGER t_stamp ON t IS 'x'", {"added comment trigger t.t_stamp"}),
    ("COMMENT ON TYPE mood IS 'x'", {"added comment type mood"}),
    ("COMMENT ON SCHEMA {schema} IS 'x'", {"added comment schema {{schema}}"}),
    ("GRANT SELECT ON t TO pg_monitor", {"added privileges table t"}),
    ("GRANT SELECT (id) ON t TO pg_monitor", {"added privileges column t.id"}),
    ("GRANT USAGE ON SEQUENCE s TO pg_monitor", {"added privileges sequence s"}),
    ("REVOKE EXECUTE ON FUNCTION f(integer) FROM PUBLIC", {"added privileges function f(integer)"}),
    ("REVOKE USAGE ON TYPE mood FROM PUBLIC", {"added privileges type mood"}),
    ("GRANT USAGE ON SCHEMA {schema} TO pg_monitor", {"added privileges schema {{schema}}"}),
    ("ALTER TABLE t OWNER TO pg_monitor", {"added owner table t"}),
    ("ALTER FUNCTION f(integer) OWNER TO pg_monitor", {"added owner function f(integer)"}),
]

NOTHING = [
    "ANALYZE",
    "VACUUM FULL t",
    "INSERT INTO t VALUES (1, 'x'); DELETE FROM t",
    "SELECT nextval('s'), setval('s', 100)",
    "REINDEX TABLE t",
    "REINDEX TABLE CONCURRENTLY t",
    "REFRESH MATERIALIZED VIEW m",
    "CLUSTER t USING t_pkey",
    "TRUNCATE t, child",
    "CREATE TEMP TABLE t (other integer)",
    "CREATE TABLE gone (id integer); DROP TABLE gone",
    "ALTER TABLE t ADD COLUMN gone integer; ALTER TABLE t DROP COLUMN gone",
    "GRANT SELECT ON t TO pg_monitor; REVOKE SELECT ON t FROM pg_monitor",
    "GRANT SELECT (id) ON t TO pg_monitor; REVOKE SELECT (id) ON t FROM pg_monitor",
    "COMMENT ON TYPE mood IS 'x'; COMMENT ON TYPE mood IS NULL",
    "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'SQL, DMY'; SET quote_all_identifiers = on; SET search_path = public",
]
