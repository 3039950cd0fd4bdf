-- Who serves this database: one row for each running instance, renewed every few seconds. What a dead one was doing
-- is taken over by the others.
CREATE TABLE {{tables.instances}} (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);
