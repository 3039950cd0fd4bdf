-- A run of a module that needs approvals: "plan" is the digest of what it may apply, "approvals" what the module demands,
-- of which this plan needs "approvals_needed". "break_glass" says who started it without them, when, and why.
ALTER TABLE {{tables.runs}} ADD COLUMN plan text;
ALTER TABLE {{tables.runs}} ADD COLUMN approvals jsonb;
ALTER TABLE {{tables.runs}} ADD COLUMN approvals_needed integer NOT NULL DEFAULT 0;
ALTER TABLE {{tables.runs}} ADD COLUMN break_glass jsonb;

-- The digest of the plan in this schema. Nothing else may be applied there.
ALTER TABLE {{tables.run_schemas}} ADD COLUMN plan text;

CREATE TABLE {{tables.run_approvals}} (
    run uuid NOT NULL REFERENCES {{tables.runs}} ON DELETE CASCADE,
    principal text NOT NULL,
    reason text,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, principal)
);
