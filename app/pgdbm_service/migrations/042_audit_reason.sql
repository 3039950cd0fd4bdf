-- The reason that was given with a request.
ALTER TABLE {{tables.audit}} ADD COLUMN reason text;
