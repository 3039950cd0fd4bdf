-- pgdbm:no-transaction
-- A closed account must not keep its address from being used again; built while people sign up.
CREATE UNIQUE INDEX CONCURRENTLY users_live_email_key ON {{tables.users}} (lower(email)) WHERE deleted_at IS NULL;
