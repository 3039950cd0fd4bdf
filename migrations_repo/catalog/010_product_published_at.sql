-- "New in the shop" was sorted by created_at, which is the date of the draft and not of the launch.
ALTER TABLE {{tables.products}} ADD COLUMN published_at timestamptz;

CREATE FUNCTION {{tables.stamp_publication}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.status <> 'draft' AND NEW.published_at IS NULL THEN
        NEW.published_at := now();
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER products_stamp_first_publication
    BEFORE INSERT ON {{tables.products}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.stamp_publication}}();

CREATE TRIGGER products_stamp_publication
    BEFORE UPDATE OF status ON {{tables.products}}
    FOR EACH ROW
    WHEN (OLD.status = 'draft')
    EXECUTE FUNCTION {{tables.stamp_publication}}();

COMMENT ON COLUMN {{tables.products}}.published_at IS 'When the product first left draft; set by a trigger.';
