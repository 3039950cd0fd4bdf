-- Accounts can be closed. In a separate file, because a new enum value cannot be used before the commit.
ALTER TYPE {{tables.user_status}} ADD VALUE 'deleted' AFTER 'suspended';
