-- Orders refer to closed accounts, so a closed account keeps its row.
ALTER TABLE {{tables.users}} ADD COLUMN deleted_at timestamptz;

CREATE FUNCTION {{tables.stamp_user_deletion}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.status = 'deleted' THEN
        NEW.deleted_at := coalesce(NEW.deleted_at, now());
    ELSE
        NEW.deleted_at := NULL;
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER users_stamp_deletion
    BEFORE INSERT OR UPDATE OF status, deleted_at ON {{tables.users}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.stamp_user_deletion}}();

-- NOT VALID: the lock is not held during a scan of the table. Compared as text, because
-- before PostgreSQL 17 an enum value that the same transaction added (atomic="all") cannot be used.
ALTER TABLE {{tables.users}}
    ADD CONSTRAINT users_deleted_at_matches_status
    CHECK ((status::text = 'deleted') = (deleted_at IS NOT NULL)) NOT VALID;

COMMENT ON COLUMN {{tables.users}}.deleted_at IS 'When the account was closed; follows status, set by a trigger.';
