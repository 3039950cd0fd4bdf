==== a table and its indexes are cheap
CREATE TABLE {{tables.t}} (a int);
CREATE INDEX i ON {{tables.t}} (a);
ALTER TABLE {{tables.t}} ADD b int;
==== an index on another table is not
CREATE INDEX i ON {{tables.t}} (a);
==== an index on a table of that name elsewhere is not
CREATE TABLE {{tables.t}} (a int);
CREATE INDEX i ON {{tables.other.t}} (a);
==== ALTER TABLE is not
ALTER TABLE {{tables.t}} ADD b int;
==== INSERT with values is cheap
INSERT INTO {{tables.t}} VALUES (1), (2);
==== INSERT from a query is not
INSERT INTO {{tables.t}} SELECT * FROM {{tables.u}};
==== INSERT of defaults
INSERT INTO {{tables.t}} DEFAULT VALUES;
==== UPDATE is not
UPDATE {{tables.t}} SET a = 1;
==== a table from a query is not
CREATE TABLE {{tables.t}} AS SELECT 1 AS a;
==== views, types, functions and comments are cheap
CREATE VIEW v AS SELECT 1; CREATE TYPE e AS ENUM ('a'); COMMENT ON VIEW v IS 'x'; CREATE DOMAIN d AS text; GRANT SELECT ON v TO PUBLIC;
==== a setting of the session
SET work_mem = '1MB'; SELECT 1;
==== a setting of the transaction is cheap
SET LOCAL work_mem = '1MB'; CREATE TABLE t ();
==== MERGE
MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = 1; SELECT 1;
==== grammar of 18
CREATE TABLE t (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL); INSERT INTO t (a) VALUES (1) RETURNING old.a, new.a;
==== a table that may be there already
CREATE TABLE IF NOT EXISTS {{tables.t}} (a int); CREATE INDEX i ON {{tables.t}} (a);
==== a partition
CREATE TABLE {{tables.p}} PARTITION OF {{tables.t}} FOR VALUES IN (1);
