==== a table
SELECT * FROM {{tables.users}};
==== a table of another schema
SELECT * FROM {{tables.other.users}};
==== the schema
CREATE TYPE {{schema}}.mood AS ENUM ('ok');
==== white space inside the braces
SELECT * FROM {{ tables.users }};
==== in a string
SELECT '{{tables.users}}'::regclass;
==== in a comment
SELECT 1; -- {{tables.users}}
==== escaped
INSERT INTO {{tables.mails}} VALUES ('Dear \{{name}},');
==== an array literal is none
SELECT '{{1,2},{3,4}}'::int[];
==== empty braces are none
SELECT '{{}}';
==== positions after one are those of the file
SELECT * FROM {{tables.a}};  SELECT 1;
  SELECT * FROM {{tables.b}}; SELECT 2;
==== unknown
SELECT 1;
  SELECT {{table.users}};
==== unknown in a comment
-- {{nope}}
SELECT 1;
==== three parts
SELECT {{tables.a.b.c}};
==== not an identifier
SELECT * FROM {{tables.1a}};
==== a name that is too long
SELECT * FROM {{tables.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}};
==== a name that asks for quotes
SELECT * FROM {{tables.a-b}};
==== a syntax error behind one
SELECT * FROM {{tables.users}} WHERE;
