-- No run of a module whose name is LIKE "pattern" starts until "until"; null: until the freeze is lifted.
CREATE TABLE {{tables.freezes}} (
    modules text PRIMARY KEY,
    pattern text NOT NULL,
    reason text NOT NULL,
    until timestamptz,
    frozen_by text NOT NULL,
    frozen_at timestamptz NOT NULL DEFAULT now()
);

-- "hold" says why a run that is held has not started: the reason, until when, and a text.
ALTER TABLE {{tables.runs}} ADD COLUMN hold jsonb;
ALTER TABLE {{tables.runs}} DROP CONSTRAINT runs_status_check;
ALTER TABLE {{tables.runs}} ADD CONSTRAINT runs_status_check CHECK (status IN (
    'queued', 'waiting_for_approval', 'held', 'running', 'succeeded', 'failed', 'cancelled')) NOT VALID;
ALTER TABLE {{tables.runs}} VALIDATE CONSTRAINT runs_status_check;

-- The index runs_active stays for replicas of the previous release, which insert with its condition.
CREATE UNIQUE INDEX runs_unended ON {{tables.runs}} (module, digest) WHERE ended_at IS NULL;
