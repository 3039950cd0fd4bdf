"""Schema changes of a table that is in use, by kind: the changes that QuantumDB's paper (de Jong et al., ICSE-SEIP
2017) and Wevers et al. 2015 measure. ``{{tables.big}}`` has many rows, ``{{tables.small}}`` few.

``big_id`` is for those who read and write a row: without it they would scan the table once its key is another.
"""

from __future__ import annotations

BIG = "{{tables.big}}"
SETUP = f"""
CREATE TABLE {{{{tables.small}}}} (id integer PRIMARY KEY, name text);
CREATE TABLE {BIG} (
    id integer CONSTRAINT big_pkey PRIMARY KEY,
    number integer NOT NULL,
    amount integer,
    name text,
    small_id integer,
    optional text,
    word varchar(20)
);
CREATE INDEX big_name ON {BIG} (name);
CREATE INDEX big_id ON {BIG} (id);
INSERT INTO {{{{tables.small}}}} SELECT i, 'x' FROM generate_series(1, 100) i;
"""
CHANGES = {
    "create a table": "CREATE TABLE {{tables.other}} (id integer PRIMARY KEY, big_id integer);",
    "create a table with a foreign key": f"CREATE TABLE {{{{tables.other}}}} (id integer REFERENCES {BIG} (id));",
    "rename a table": f"ALTER TABLE {BIG} RENAME TO great; ALTER TABLE {{{{tables.great}}}} RENAME TO big;",
    "copy a table": f"CREATE TABLE {{{{tables.other}}}} AS TABLE {BIG};",
    "drop a table": "DROP TABLE {{tables.small}};",
    "add a column": f"ALTER TABLE {BIG} ADD COLUMN added integer;",
    "add a column with a default": f"ALTER TABLE {BIG} ADD COLUMN added integer NOT NULL DEFAULT 1;",
    "add a column with a volatile default": f"ALTER TABLE {BIG} ADD COLUMN added uuid DEFAULT gen_random_uuid();",
    "add a column with a volatile default, NOT NULL": (
        f"ALTER TABLE {BIG} ADD COLUMN added uuid NOT NULL DEFAULT gen_random_uuid();"
    ),
    "add an identity column": f"ALTER TABLE {BIG} ADD COLUMN added bigint GENERATED ALWAYS AS IDENTITY;",
    "add a serial column": f"ALTER TABLE {BIG} ADD COLUMN added serial;",
    "rename a column": f"ALTER TABLE {BIG} RENAME COLUMN name TO label;",
    "drop a column": f"ALTER TABLE {BIG} DROP COLUMN optional;",
    "widen a column": f"ALTER TABLE {BIG} ALTER COLUMN word TYPE varchar(40);",
    "change the type of a column": f"ALTER TABLE {BIG} ALTER COLUMN amount TYPE bigint;",
    "change a default": f"ALTER TABLE {BIG} ALTER COLUMN amount SET DEFAULT 0;",
    "set NOT NULL": f"ALTER TABLE {BIG} ALTER COLUMN amount SET NOT NULL;",
    "drop NOT NULL": f"ALTER TABLE {BIG} ALTER COLUMN number DROP NOT NULL;",
    "create an index": f"CREATE INDEX big_amount ON {BIG} (amount);",
    "rename an index": "ALTER INDEX {{schema}}.big_name RENAME TO big_label;",
    "drop an index": "DROP INDEX {{schema}}.big_name;",
    "rebuild an index": "REINDEX INDEX {{schema}}.big_name;",
    "add a foreign key": f"ALTER TABLE {BIG} ADD FOREIGN KEY (small_id) REFERENCES {{{{tables.small}}}} (id);",
    "add a check": f"ALTER TABLE {BIG} ADD CHECK (amount >= 0);",
    "add a unique constraint": f"ALTER TABLE {BIG} ADD UNIQUE (number);",
    "change the primary key": (
        f"ALTER TABLE {BIG} DROP CONSTRAINT big_pkey;\nALTER TABLE {BIG} ADD PRIMARY KEY (number);"
    ),
    "rewrite a table": f"-- pgdbm:no-transaction\nVACUUM FULL {BIG};",
}
