-- Accounts can be closed; alone in its file, for a new enum value cannot be used before it is committed.
ALTER TYPE {{tables.user_status}} ADD VALUE 'deleted' AFTER 'suspended';
