-- The export to accounting reads rows that changed since its last run.
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

CREATE TRIGGER orders_touch_updated_at
    BEFORE UPDATE ON {{tables.orders}}
    FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION {{tables.touch_updated_at}}();
