==== a new table, with all that belongs to it, blocks no one
CREATE TABLE {{tables.orders}} (id bigint PRIMARY KEY, customer bigint NOT NULL);
CREATE INDEX orders_customer_idx ON {{tables.orders}} (customer);
ALTER TABLE {{tables.orders}} ADD COLUMN total numeric NOT NULL, ADD CHECK (total >= 0);
ALTER TABLE {{tables.orders}} ALTER COLUMN customer SET NOT NULL;
INSERT INTO {{tables.orders}} SELECT 1, 2, 3;
UPDATE {{tables.orders}} SET total = 4;
DROP TABLE {{tables.orders}};
==== CREATE TABLE IF NOT EXISTS counts as new
CREATE TABLE IF NOT EXISTS {{tables.orders}} (id bigint PRIMARY KEY);
CREATE INDEX IF NOT EXISTS orders_id_idx ON {{tables.orders}} (id);
==== a new table that points at one in use
CREATE TABLE {{tables.orders}} (id bigint PRIMARY KEY, customer bigint REFERENCES {{tables.customers}} (id));
==== a partition of a table in use
CREATE TABLE {{tables.events_2025}} PARTITION OF {{tables.events}} FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE INDEX events_2025_idx ON {{tables.events_2025}} (id);
==== columns of many kinds
ALTER TABLE {{tables.orders}}
    ADD COLUMN a integer,
    ADD COLUMN b integer DEFAULT 0 NOT NULL,
    ADD COLUMN c timestamptz DEFAULT now(),
    ADD COLUMN d timestamptz DEFAULT clock_timestamp(),
    ADD COLUMN e bigserial,
    ADD COLUMN f bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN g integer GENERATED ALWAYS AS (a + 1) STORED,
    ADD COLUMN h integer GENERATED ALWAYS AS (a + 1) VIRTUAL,
    ADD COLUMN i text NOT NULL,
    ADD COLUMN j integer UNIQUE,
    ADD COLUMN k integer CHECK (k > 0),
    ADD COLUMN l text DEFAULT lower('X') || '-',
    ADD COLUMN m uuid DEFAULT coalesce(NULL, gen_random_uuid());
==== types
ALTER TABLE {{tables.orders}} ALTER COLUMN a TYPE text;
ALTER TABLE {{tables.orders}} ALTER COLUMN a TYPE text USING a::text;
ALTER TABLE {{tables.orders}} ALTER COLUMN a TYPE varchar(20);
ALTER TABLE {{tables.orders}} ALTER COLUMN a TYPE text[] USING ARRAY[a];
==== constraints
ALTER TABLE {{tables.orders}} ADD CONSTRAINT a FOREIGN KEY (x) REFERENCES {{tables.customers}};
ALTER TABLE {{tables.orders}} ADD CONSTRAINT b CHECK (x > 0);
ALTER TABLE {{tables.orders}} ADD CONSTRAINT c CHECK (x > 0) NOT ENFORCED;
ALTER TABLE {{tables.orders}} ADD CONSTRAINT d EXCLUDE USING gist (x WITH =);
ALTER TABLE {{tables.orders}} ADD PRIMARY KEY (x);
ALTER TABLE {{tables.orders}} ADD CONSTRAINT e NOT NULL x;
==== a proof by a CHECK of several columns
ALTER TABLE {{tables.orders}} ADD CONSTRAINT a CHECK (x IS NOT NULL AND (y IS NOT NULL AND z > 0)) NOT VALID;
ALTER TABLE {{tables.orders}} VALIDATE CONSTRAINT a;
ALTER TABLE {{tables.orders}} ALTER COLUMN x SET NOT NULL, ALTER COLUMN y SET NOT NULL, ALTER COLUMN z SET NOT NULL;
==== a CHECK that proves nothing
ALTER TABLE {{tables.orders}} ADD CONSTRAINT a CHECK (x IS NOT NULL OR y IS NOT NULL);
ALTER TABLE {{tables.orders}} ALTER COLUMN x SET NOT NULL;
==== several tables in one transaction
DROP TABLE {{tables.a}}, {{tables.b}};
ALTER TABLE {{tables.c}} ADD COLUMN x integer;
==== several tables without a transaction
-- pgdbm:no-transaction
ALTER TABLE {{tables.a}} ADD COLUMN x integer;
ALTER TABLE {{tables.b}} ADD COLUMN x integer;
==== indexes and views are no tables
DROP INDEX {{schema}}.i;
CREATE OR REPLACE VIEW {{tables.v}} AS SELECT 1 AS one;
ALTER TABLE {{tables.a}} ADD COLUMN x integer;
==== other things that are renamed
ALTER TABLE {{tables.a}} RENAME TO b;
ALTER TABLE {{tables.a}} RENAME CONSTRAINT x TO y;
ALTER INDEX {{tables.i}} RENAME TO j;
ALTER VIEW {{tables.v}} RENAME COLUMN x TO y;
ALTER TABLE {{tables.a}} SET SCHEMA archive;
ALTER FUNCTION {{schema}}.f() RENAME TO g;
==== the rest of what blocks
TRUNCATE {{tables.a}} CASCADE;
REFRESH MATERIALIZED VIEW {{tables.m}};
CLUSTER {{tables.a}} USING i;
ALTER TABLE {{tables.a}} SET LOGGED;
LOCK TABLE {{tables.a}}, {{tables.b}} IN EXCLUSIVE MODE;
DROP SCHEMA old CASCADE;
DO $$ BEGIN DROP TABLE x; END $$;
CALL {{schema}}.cleanup();
