-- The application failed to write events in two places; a trigger writes all of them.
CREATE FUNCTION {{tables.record_status_change}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old_status {{tables.order_status}};
BEGIN
    IF TG_OP = 'UPDATE' THEN
        old_status := OLD.status;
    END IF;
    INSERT INTO {{tables.order_events}} (order_id, from_status, to_status, actor_id)
    VALUES (NEW.id, old_status, NEW.status, nullif(current_setting('app.user_id', true), '')::uuid);
    RETURN NULL;
END;
$$;

CREATE TRIGGER orders_record_creation
    AFTER INSERT ON {{tables.orders}}
    FOR EACH ROW
    EXECUTE FUNCTION {{tables.record_status_change}}();

CREATE TRIGGER orders_record_status_change
    AFTER UPDATE OF status ON {{tables.orders}}
    FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION {{tables.record_status_change}}();

COMMENT ON FUNCTION {{tables.record_status_change}}() IS 'Row trigger: writes the change of status to order_events.';
