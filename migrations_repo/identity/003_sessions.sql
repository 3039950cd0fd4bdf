-- Sessions can be listed and revoked individually, which signed cookies do not allow.
CREATE TABLE {{tables.sessions}} (
    id           uuid        NOT NULL DEFAULT gen_random_uuid(),
    user_id      uuid        NOT NULL,
    token_hash   bytea       NOT NULL,
    user_agent   text,
    ip           inet,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES {{tables.users}} (id) ON DELETE CASCADE,
    CONSTRAINT sessions_token_hash_key UNIQUE (token_hash),
    CONSTRAINT sessions_token_hash_is_sha256 CHECK (octet_length(token_hash) = 32),
    CONSTRAINT sessions_user_agent_length CHECK (length(user_agent) <= 1000),
    CONSTRAINT sessions_expires_after_start CHECK (expires_at > created_at)
);

CREATE INDEX sessions_user_id_idx ON {{tables.sessions}} (user_id);
-- The job that deletes expired sessions skips revoked ones.
CREATE INDEX sessions_live_expiry_idx ON {{tables.sessions}} (expires_at) WHERE revoked_at IS NULL;

COMMENT ON TABLE {{tables.sessions}} IS 'One row per sign-in; valid while revoked_at is null and expires_at is in the future.';
COMMENT ON COLUMN {{tables.sessions}}.token_hash IS 'SHA-256 of the bearer token; the token itself is not stored.';
