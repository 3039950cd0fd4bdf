-- The feed to the search partner is driven by updated_at, so no writer may forget it.
CREATE FUNCTION {{tables.touch_updated_at}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION {{tables.touch_updated_at}}() IS 'Row trigger: stamps updated_at with the time of the transaction.';

CREATE TRIGGER categories_touch_updated_at
    BEFORE UPDATE ON {{tables.categories}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.touch_updated_at}}();

CREATE TRIGGER products_touch_updated_at
    BEFORE UPDATE ON {{tables.products}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.touch_updated_at}}();
