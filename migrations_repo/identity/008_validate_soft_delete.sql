-- Validates the constraint without blocking reads or writes.
ALTER TABLE {{tables.users}} VALIDATE CONSTRAINT users_deleted_at_matches_status;
