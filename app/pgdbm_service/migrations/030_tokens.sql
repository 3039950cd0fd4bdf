-- Who may use the service over HTTP. A token itself is not kept, only its SHA-256. A revoked one stays, for the audit
-- to make sense of its name.
CREATE TABLE {{tables.tokens}} (
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    id text PRIMARY KEY,
    name text NOT NULL,
    digest bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    revoked_by text
);

CREATE UNIQUE INDEX tokens_name ON {{tables.tokens}} (name) WHERE revoked_at IS NULL;
