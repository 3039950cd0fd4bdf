-- Called by a monthly job to create a partition. Events of that month may already be in the default partition.
CREATE FUNCTION {{tables.ensure_order_events_month}}(month date) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first_day CONSTANT timestamp := date_trunc('month', month::timestamp);
    lower_bound CONSTANT timestamptz := first_day AT TIME ZONE 'UTC';
    upper_bound CONSTANT timestamptz := (first_day + interval '1 month') AT TIME ZONE 'UTC';
    partition_name CONSTANT text := 'order_events_' || to_char(first_day, 'YYYYMM');
BEGIN
    -- Also serializes concurrent calls, and blocks new events while the early ones are moved.
    LOCK TABLE {{tables.order_events_default}} IN ACCESS EXCLUSIVE MODE;

    IF to_regclass(format('{{schema}}.%I', partition_name)) IS NOT NULL THEN
        RETURN false;
    END IF;

    EXECUTE format(
        'CREATE TABLE {{schema}}.%I (LIKE {{tables.order_events}} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)',
        partition_name
    );
    EXECUTE format(
        'WITH early AS (
             DELETE FROM {{tables.order_events_default}}
             WHERE occurred_at >= $1 AND occurred_at < $2
             RETURNING *
         )
         INSERT INTO {{schema}}.%I SELECT * FROM early',
        partition_name
    ) USING lower_bound, upper_bound;
    EXECUTE format(
        'ALTER TABLE {{tables.order_events}} ATTACH PARTITION {{schema}}.%I FOR VALUES FROM (%L) TO (%L)',
        partition_name, lower_bound, upper_bound
    );
    RETURN true;
END;
$$;

REVOKE ALL ON FUNCTION {{tables.ensure_order_events_month}}(date) FROM PUBLIC;

COMMENT ON FUNCTION {{tables.ensure_order_events_month}}(date) IS
    'Creates the partition of the month of the date and moves early events into it; false if it existed.';

SELECT {{tables.ensure_order_events_month}}('2027-02-01');
