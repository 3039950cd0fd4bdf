-- Tickets to open a stream of events with: a browser's EventSource cannot send a token. Only the SHA-256 is kept.
CREATE TABLE {{tables.stream_tickets}} (
    digest bytea PRIMARY KEY,
    principal text NOT NULL,
    scopes text[] NOT NULL,
    expires_at timestamptz NOT NULL
);
