-- The scan that the constraint put off: reads and writes go on while it runs.
ALTER TABLE {{tables.users}} VALIDATE CONSTRAINT users_deleted_at_matches_status;
