BEGIN;

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- Running upgrade  -> r1

CREATE TABLE users (id int);

INSERT INTO alembic_version (version_num) VALUES ('r1') RETURNING alembic_version.version_num;

-- Running upgrade r1 -> r2

COMMIT;

CREATE INDEX CONCURRENTLY users_id ON users (id);

BEGIN;

UPDATE alembic_version SET version_num='r2' WHERE alembic_version.version_num = 'r1';

-- Running upgrade r2 -> r3

CREATE TABLE orders (id int);

UPDATE alembic_version SET version_num='r3' WHERE alembic_version.version_num = 'r2';

COMMIT;

