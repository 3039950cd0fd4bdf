-- Who is signed in to the dashboard. The cookie itself is not kept, only its SHA-256: a copy of the database signs no one
-- in. A session ends with its token. One of an identity provider has the scopes that its ID token had.
CREATE TABLE {{tables.dashboard_sessions}} (
    id text PRIMARY KEY,
    digest bytea NOT NULL,
    principal text NOT NULL,
    token_id text REFERENCES {{tables.tokens}} (id) ON DELETE CASCADE,
    issuer text,
    scopes text[] NOT NULL,
    address text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE INDEX dashboard_sessions_principal ON {{tables.dashboard_sessions}} (principal);
CREATE INDEX dashboard_sessions_token_id ON {{tables.dashboard_sessions}} (token_id);
