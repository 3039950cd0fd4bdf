CREATE TABLE {{tables.jobs}} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payload jsonb NOT NULL,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'failed')),
    attempts int NOT NULL DEFAULT 0,
    outcome text
);
CREATE INDEX jobs_waiting ON {{tables.jobs}} (id) WHERE state = 'waiting';
