==== \i
SELECT 1;
\i other.sql
==== \set at the top
\set ON_ERROR_STOP on
SELECT 1;
==== \connect
\connect db
SELECT 1;
==== \copy
SELECT 1;
\copy t FROM 'x'
==== \gexec
SELECT 'x' \gexec
==== a variable of psql
SELECT :name;
==== \restrict of pg_dump
\restrict abc
SELECT 1;
