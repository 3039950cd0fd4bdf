==== a semicolon in a string
SELECT 'a;b';
SELECT 2;
==== a doubled quote
SELECT 'it''s; fine';SELECT 2
==== a backslash in a plain string is itself
SELECT 'a\';SELECT 2;
==== a backslash escapes in an E string
SELECT E'a\';b';SELECT 2;
==== an E string with an escaped backslash
SELECT E'a\\';SELECT 2;
==== a U& string
SELECT U&'d\0061t\+000061;';SELECT 2;
==== a U& identifier with an escape character of its own
SELECT 1 AS U&"d!0061;t" UESCAPE '!';SELECT 2;
==== a bit string
SELECT B'101', X'1F';SELECT 2;
==== a national string
SELECT N'a;b';SELECT 2;
==== a string over two lines
SELECT 'a
;b';
SELECT 2;
==== strings that continue on the next line
SELECT 'a;'
  'b;';SELECT 2;
==== a semicolon in an identifier
CREATE TABLE "a;b" ("c;d" int);SELECT 2;
==== a doubled quote in an identifier
SELECT 1 AS "a"";b";SELECT 2;
==== a quote in an identifier
SELECT 1 AS "it's";SELECT 'x';
==== a comment opener in a string
SELECT '/* not a comment', '-- neither';SELECT 2;
==== a dollar string
SELECT $$a;b$$;SELECT 2;
==== a tagged dollar string
SELECT $q$a;$$;b$q$;SELECT 2;
==== a dollar string in a dollar string
DO $outer$ BEGIN EXECUTE $inner$SELECT ';'$inner$; END $outer$;SELECT 2;
==== a tag that only begins alike
SELECT $a$ $ab$ ; $a$;SELECT 2;
==== a parameter is no dollar string
PREPARE p AS SELECT $1;SELECT 2;
==== an empty string
SELECT '';SELECT $$$$;
==== a dollar inside an identifier
SELECT 1 AS a$b;SELECT 2;
==== an unfinished string
SELECT 1;
SELECT 'abc
==== an unfinished dollar string
SELECT 1;
SELECT $$abc
==== an unfinished identifier
SELECT 1;
SELECT 1 AS "abc
