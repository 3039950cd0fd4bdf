-- The unique index over all accounts forbids what the one over live accounts allows.
DROP INDEX {{tables.users_email_lower_key}};
