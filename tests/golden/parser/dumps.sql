==== rows for COPY
CREATE TABLE {{tables.t}} (id int, v text);
COPY {{tables.t}} (id, v) FROM stdin;
1	it's; "one" $$ {{not.ours}}
2	\\N -- /*
\.


SELECT 1;
==== rows up to the end of the file
COPY t FROM stdin;
1	one
==== no rows
COPY t FROM stdin;
\.
SELECT 1;
==== options, and a statement on the same line
copy {{tables.t}} from STDIN WITH (FORMAT csv, DELIMITER ';'); SELECT 1;
a;b
\.
SELECT 2;
==== what only looks like it
SELECT 'COPY t FROM stdin;
1	one
\.
';
-- COPY t FROM stdin;
CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ COPY t FROM stdin; $$;
SELECT copy from stdin;
==== without a transaction
-- pgdbm:no-transaction
COPY t FROM stdin;
1
\.
==== what pg_dump writes around it
--
-- PostgreSQL database dump
--

\restrict Xk9

SELECT pg_catalog.set_config('search_path', '', false);
CREATE SCHEMA app;
CREATE SCHEMA other;
\unrestrict Xk9

==== in a string
SELECT '
\restrict Xk9
CREATE SCHEMA app;
';
==== a quoted schema
CREATE SCHEMA "app";
==== large objects
SELECT pg_catalog.lo_create('4711');
ALTER LARGE OBJECT 4711 OWNER TO postgres;
SELECT pg_catalog.lo_create('4712');

--
-- Data for Name: BLOBS; Type: BLOBS; Schema: -; Owner: -
--

BEGIN;

SELECT pg_catalog.lo_open('4711', 131072);
SELECT pg_catalog.lowrite(0, '\x6162');
SELECT pg_catalog.lo_close(0);

COMMIT;

BEGIN;

SELECT pg_catalog.lo_open('4712', 131072);
SELECT pg_catalog.lo_close(0);

COMMIT;
ALTER TABLE t ADD x int;
==== more than a large object between BEGIN and COMMIT
BEGIN;
SELECT pg_catalog.lo_open('4712', 131072);
SET LOCAL role = x;
COMMIT;
SELECT 1;
==== a large object without COMMIT
BEGIN;
SELECT pg_catalog.lo_open('4712', 131072);
COMMIT;
BEGIN;
SELECT pg_catalog.lo_open('4712', 131072);
