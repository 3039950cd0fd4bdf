==== a line comment with a semicolon
SELECT 1 -- a;b
;SELECT 2;
==== a block comment with a semicolon
SELECT /* a;b */ 1;SELECT 2;
==== nested comments
/* a /* b; */ c; */ SELECT 1;SELECT 2;
==== a comment over lines
/*
;
*/
SELECT 1;
==== a quote in a comment
-- it's
SELECT 1;/* it's */SELECT 2;
==== a dollar quote in a comment
-- $$
SELECT 1;/* $x$ */SELECT 2;
==== only a comment
-- nothing here
==== only a block comment
/* nothing /* at all */ */
==== a comment after the last statement
SELECT 1; -- the end
==== a comment after the last statement without a semicolon
SELECT 1 -- the end
==== a comment before the first statement
-- first

/* second */
  SELECT 1;
==== a comment between statements belongs to none
SELECT 1;
-- between
SELECT 2;
==== an unfinished comment
SELECT 1;
/* abc
==== an unfinished nested comment
SELECT 1; /* a /* b */ c
==== an operator that looks like a comment
SELECT 5 - -1;SELECT 2;
==== two minus signs are a comment
SELECT 5 --1
;SELECT 2;
==== a comment of psql is SQL here
SELECT 1; # not a comment
==== semicolons without statements
;;SELECT 1;;;SELECT 2;;
==== only semicolons
;;
