"""Whether a statement stays in the schema of a rehearsal."""

from __future__ import annotations

import pytest

from pgdbm.migrations.reach import Reach, reach_of

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
-- nothing but a comment
""".strip().splitlines()
OPEN = """
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
BEYOND = """
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
GRANT someone TO somebody
ALTER TYPE other.e ADD VALUE 'b'
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
TRUNCATE s.a, other.b
VACUUM
REINDEX DATABASE d
ALTER SYSTEM SET work_mem = '1MB'
CREATE PUBLICATION p FOR ALL TABLES
CREATE DATABASE d
CREATE TABLE s.t (); CREATE TABLE other.t ()
THIS IS NO SQL
""".strip().splitlines()


@pytest.mark.parametrize(
    ("sql", "reach"),
    [(sql, reach) for reach, of in ((Reach.INSIDE, INSIDE), (Reach.OPEN, OPEN), (Reach.BEYOND, BEYOND)) for sql in of],
)
def test_reach(sql: str, reach: Reach) -> None:
    assert reach_of(sql, "s") is reach
