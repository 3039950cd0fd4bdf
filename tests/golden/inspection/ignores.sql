==== of the statement that follows
-- pgdbm:ignore PGDBM012 it was empty
DROP TABLE {{tables.a}};
DROP TABLE {{tables.b}};
==== of the first statement only, though an empty line follows
-- pgdbm:ignore PGDBM012 it was empty

DROP TABLE {{tables.a}};
DROP TABLE {{tables.b}};
==== several comments and several rules
-- pgdbm:ignore PGDBM012 it was empty
-- pgdbm:ignore PGDBM019,PGDBM011 nothing depends on it
DROP TABLE {{tables.a}}, {{tables.b}} CASCADE;
==== on the same line, behind the statement
DROP TABLE {{tables.a}}; -- pgdbm:ignore PGDBM012 it was empty
DROP TABLE {{tables.b}}; -- pgdbm:ignore PGDBM012,PGDBM011 it was empty too
==== inside the statement
ALTER TABLE {{tables.a}}
    ADD COLUMN x integer,
    -- pgdbm:ignore PGDBM013 no release reads it
    DROP COLUMN y;
==== of the whole file
DROP TABLE {{tables.a}};
DROP TABLE {{tables.b}};
-- pgdbm:ignore-file PGDBM012,PGDBM011 the module is retired
==== in the words of squawk
-- pgdbm:ignore ban-drop-table it was empty
DROP TABLE {{tables.a}};
==== without a reason, or without a rule
-- pgdbm:ignore PGDBM012
-- pgdbm:ignore
DROP TABLE {{tables.a}};
==== that ignores nothing
-- pgdbm:ignore PGDBM013 not a column
DROP TABLE {{tables.a}};
-- pgdbm:ignore PGDBM012 nothing follows
==== that is no comment
INSERT INTO {{tables.a}} VALUES ('
-- pgdbm:ignore PGDBM012 it is text
');
DROP TABLE {{tables.b}};
==== with a placeholder before it
INSERT INTO {{tables.a_rather_long_name}} VALUES ('ä'); DROP TABLE {{tables.b}}; -- pgdbm:ignore PGDBM012 it was empty
