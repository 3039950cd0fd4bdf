==== names of all kinds
SELECT * FROM a JOIN {{tables.b}} USING (id) JOIN c.d USING (id) JOIN {{tables.e.f}} USING (id);
CREATE TYPE mood AS ENUM ('sad');
CREATE TYPE {{schema}}.other AS ENUM ('sad');
CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION {{schema}}.g() RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM x; END;
DROP TABLE g, {{tables.h}}, i.j;
DROP TRIGGER t ON k;
COMMENT ON COLUMN l.m.n IS 'x';
COMMENT ON TABLE {{tables.o}} IS 'x';
COMMENT ON COLUMN {{tables.o}}.p IS 'x';
COMMENT ON COLUMN {{schema}}.o.p IS 'x';
COMMENT ON EXTENSION plpgsql IS 'x';
==== what needs no placeholder
CREATE TEMPORARY TABLE scratch AS SELECT * FROM pg_catalog.pg_class, pg_index, information_schema.tables;
CREATE INDEX scratch_idx ON scratch (oid);
WITH a AS (SELECT 1), b AS (SELECT * FROM a) SELECT * FROM b;
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT * FROM r, generate_series(1, 2);
CREATE SCHEMA s CREATE TABLE t (id integer);
GRANT USAGE ON SCHEMA s TO PUBLIC;
==== a WITH query ends with its statement
WITH a AS (SELECT 1) SELECT * FROM a;
SELECT * FROM a, (WITH b AS (SELECT 1) SELECT * FROM b) AS x, b;
==== after letters of more than one byte
/* größer 😀 */ SELECT * FROM {{tables.sizes}}, andere;
