-- The unique index over all accounts would still reject addresses of closed ones.
DROP INDEX {{tables.users_email_lower_key}};
