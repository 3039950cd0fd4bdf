"""Whether a statement stays in the schema of a rehearsal."""

from __future__ import annotations

import pytest

from pgdbm.migrations.rehearsal.effects import Effects, effects_of
from pgdbm.pgparse.parse import parse_statements

INSIDE = """
CREATE TABLE s.t (id int REFERENCES other.x)
CREATE INDEX CONCURRENTLY i ON s.t (a)
ALTER TABLE s.t ADD COLUMN x int
ALTER TABLE s.t RENAME TO u
ALTER TABLE s.t OWNER TO someone
DROP TABLE s.t, s.u CASCADE
DROP TRIGGER a ON s.t
DROP FUNCTION s.f(int)
DROP INDEX CONCURRENTLY s.i
COMMENT ON TABLE s.t IS 'x'
COMMENT ON COLUMN s.t.c IS 'x'
COMMENT ON SCHEMA s IS 'x'
COMMENT ON CONSTRAINT c ON s.t IS 'x'
GRANT SELECT ON s.t TO someone
GRANT USAGE ON SCHEMA s TO someone
GRANT EXECUTE ON FUNCTION s.f() TO someone
GRANT SELECT ON ALL TABLES IN SCHEMA s TO someone
CREATE TYPE s.e AS ENUM ('a')
ALTER TYPE s.e ADD VALUE 'b'
CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE VIEW s.v AS SELECT * FROM other.t
CREATE TRIGGER a AFTER INSERT ON s.t EXECUTE FUNCTION s.f()
CREATE AGGREGATE s.a(int) (SFUNC = f, STYPE = int)
CREATE DOMAIN s.d AS int
VACUUM s.t
REINDEX TABLE s.t
TRUNCATE s.t
""".strip().splitlines()
UNCERTAIN = """
CREATE TABLE t ()
ALTER TABLE t ADD COLUMN x int
INSERT INTO s.t VALUES (1)
SELECT 1
DO $$ BEGIN END $$
CALL s.p()
CREATE EXTENSION IF NOT EXISTS hstore
CREATE SCHEMA IF NOT EXISTS s
CREATE MATERIALIZED VIEW s.v AS SELECT 1
SET search_path = s
""".strip().splitlines()
OUTSIDE = """
CREATE TABLE other.t ()
ALTER TABLE other.t ADD COLUMN x int
ALTER TABLE other.t RENAME COLUMN a TO b
ALTER TABLE s.t SET SCHEMA other
DROP TABLE s.t, other.u
DROP TRIGGER a ON other.t
DROP FUNCTION f(int)
DROP SCHEMA s
DROP EXTENSION hstore
COMMENT ON COLUMN other.t.c IS 'x'
COMMENT ON SCHEMA other IS 'x'
COMMENT ON DATABASE d IS 'x'
GRANT SELECT ON s.t, other.t TO someone
GRANT USAGE ON SCHEMA other TO someone
GRANT someone TO someone_else
ALTER TYPE other.e ADD VALUE 'b'
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
TRUNCATE s.a, other.b
VACUUM
REINDEX DATABASE d
ALTER SYSTEM SET work_mem = '1MB'
CREATE PUBLICATION p FOR ALL TABLES
CREATE DATABASE d
""".strip().splitlines()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (sql, expected)
        for expected, group in ((Effects.INSIDE, INSIDE), (Effects.UNCERTAIN, UNCERTAIN), (Effects.OUTSIDE, OUTSIDE))
        for sql in group
    ],
)
def test_effects(sql: str, expected: Effects) -> None:
    (statement,) = parse_statements(sql)
    assert effects_of(statement.tree, "s") is expected


def test_a_statement_that_cannot_be_read_counts_as_outside() -> None:
    assert effects_of(None, "s") is Effects.OUTSIDE
