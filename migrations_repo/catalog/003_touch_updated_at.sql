-- The feed to the search partner depends on updated_at, so a trigger sets it for every writer.
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

CREATE TRIGGER categories_touch_updated_at
    BEFORE UPDATE ON {{tables.categories}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.touch_updated_at}}();

CREATE TRIGGER products_touch_updated_at
    BEFORE UPDATE ON {{tables.products}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.touch_updated_at}}();
