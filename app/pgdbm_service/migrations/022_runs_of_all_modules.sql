-- A run of all modules is a row with the module '*', without schemas and without a bundle. It has a run of each module
-- for its parts, one after the other, with the files that the module has in its turn. "part" is null where nothing was
-- pending; "result" is what the part led to, since its own row may be forgotten before this one.
ALTER TABLE {{tables.runs}} ALTER COLUMN bundle DROP NOT NULL;

CREATE TABLE {{tables.run_parts}} (
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    position integer NOT NULL,
    module text NOT NULL,
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'not_reached')),
    part uuid,
    result jsonb,
    PRIMARY KEY (run, position)
);
CREATE INDEX run_parts_running ON {{tables.run_parts}} (part) WHERE status = 'running';
