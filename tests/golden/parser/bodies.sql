==== a plpgsql function
CREATE FUNCTION {{tables.f}}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.a := 1;
  RETURN NEW;
END;
$$;
SELECT 2;
==== a function in a plain string
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2;';SELECT 2;
==== BEGIN ATOMIC
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql
BEGIN ATOMIC
  SELECT a; SELECT a + 1;
END;
SELECT 2;
==== BEGIN ATOMIC with CASE … END
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN a > 1 THEN 1 ELSE 2 END; SELECT 2; END;SELECT 3;
==== a procedure with BEGIN ATOMIC
CREATE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); END;SELECT 2;
==== RETURN without a body
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql RETURN a + 1;SELECT 2;
==== a DO block
DO $$ BEGIN PERFORM 1; END $$;SELECT 2;
==== a DO block with COMMIT inside is the server's matter
DO $$ BEGIN COMMIT; END $$;
==== a rule with two actions
CREATE RULE r AS ON INSERT TO t DO INSTEAD (INSERT INTO a VALUES (1); INSERT INTO b VALUES (2));SELECT 2;
==== a schema with elements
CREATE SCHEMA s CREATE TABLE t (a int) CREATE VIEW v AS SELECT a FROM t;SELECT 2;
==== placeholders in a body
CREATE FUNCTION {{tables.f}}() RETURNS int LANGUAGE sql AS $$ SELECT count(*) FROM {{tables.t}}; $$;
==== BEGIN as a name
SELECT 1 AS begin;SELECT 2;
