==== \i
SELECT 1;
\i other.sql
==== commands without an effect
\set ON_ERROR_STOP on
\set
  \set QUIET 1
\set VERBOSITY 'verbose'
\unset ECHO
\echo it's here, "there" and `everywhere`
\echo 'a line\nand another'
\qecho
\warn careful
\timing on
\pset pager off
\x
\t
\d+ t
\dt
\dnS+
\l
\conninfo
\encoding UTF8
SELECT '
\echo in a string
', $$
\set in a body
$$;
  SELECT 2;
\echo done
==== commands without an effect, with Windows line ends
\set ON_ERROR_STOP on
\echo done
SELECT 1;
==== a command after one without an effect
\echo done \i other.sql
SELECT 1;
==== SQL after a command without an effect
\echo done \\ SELECT 1;
==== \set of a variable
\set name 'value'
SELECT 1;
==== \encoding of another encoding
\encoding LATIN1
SELECT 1;
==== \if
\if true
SELECT 1;
\endif
==== a command of the shell
\! ls
==== \gset
SELECT 1 AS one \gset
==== \q
SELECT 1;
\q
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
