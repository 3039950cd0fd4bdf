-- The running replicas: each renews its row every few seconds. The work of one that does not is taken over by others.
CREATE TABLE {{tables.replicas}} (
    id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);
