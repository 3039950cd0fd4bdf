-- Accounts, which every other module refers to.
CREATE TYPE {{tables.user_status}} AS ENUM ('invited', 'active', 'suspended');

CREATE TABLE {{tables.users}} (
    id           uuid        NOT NULL DEFAULT gen_random_uuid(),
    email        text        NOT NULL,
    display_name text        NOT NULL,
    status       {{tables.user_status}} NOT NULL DEFAULT 'invited',
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_email_shape CHECK (email ~ '^[^@[:space:]]+@[^@[:space:]]+$' AND length(email) <= 320),
    CONSTRAINT users_display_name_length CHECK (length(display_name) BETWEEN 1 AND 200)
);

-- The address is stored as entered; addresses that differ only in case belong to one account.
CREATE UNIQUE INDEX users_email_lower_key ON {{tables.users}} (lower(email));
CREATE INDEX users_invited_idx ON {{tables.users}} (created_at) WHERE status = 'invited';

COMMENT ON TYPE {{tables.user_status}} IS 'The status of an account; only active accounts may sign in.';
COMMENT ON TABLE {{tables.users}} IS 'One row per account. Other modules refer to id and have no foreign key on it.';
COMMENT ON COLUMN {{tables.users}}.email IS 'As entered; compared in lower case.';
