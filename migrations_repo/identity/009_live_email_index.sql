-- pgdbm:no-transaction
-- The address of a closed account can be used again. Built without blocking sign-ups.
CREATE UNIQUE INDEX CONCURRENTLY users_live_email_key ON {{tables.users}} (lower(email)) WHERE deleted_at IS NULL;
