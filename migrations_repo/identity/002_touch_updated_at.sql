-- A trigger sets updated_at, so that it is correct for every writer.
CREATE FUNCTION {{tables.touch_updated_at}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION {{tables.touch_updated_at}}() IS 'Row trigger: sets updated_at to the time of the transaction.';

CREATE TRIGGER users_touch_updated_at
    BEFORE UPDATE ON {{tables.users}}
    FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION {{tables.touch_updated_at}}();
