ALTER TABLE {{tables.users}} ADD CONSTRAINT users_email_key UNIQUE (email);
