==== writing without saying which rows
UPDATE {{tables.a}} SET x = 1;
DELETE FROM {{tables.a}};
DELETE FROM {{tables.a}} WHERE true;
WITH gone AS (DELETE FROM {{tables.a}} RETURNING *) INSERT INTO {{tables.b}} SELECT * FROM gone;
==== a new value of a type
ALTER TYPE {{schema}}.mood ADD VALUE 'calm';
ALTER TYPE {{schema}}.mood RENAME VALUE 'sad' TO 'low';
INSERT INTO {{tables.people}} (mood) VALUES ('low'), ('calm');
==== a new value of a new type
CREATE TYPE {{schema}}.mood AS ENUM ('sad');
ALTER TYPE {{schema}}.mood ADD VALUE 'calm';
CREATE TABLE {{tables.people}} (mood {{schema}}.mood DEFAULT 'calm');
==== a new value that is committed immediately
-- pgdbm:no-transaction
ALTER TYPE {{schema}}.mood ADD VALUE 'calm';
INSERT INTO {{tables.people}} (mood) VALUES ('calm');
