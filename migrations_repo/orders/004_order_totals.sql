-- Stores the total of each order, which was computed from its lines for each list.
CREATE FUNCTION {{tables.apply_line_totals}}() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Adds the difference instead of a new sum: concurrent transactions do not see each other's lines.
    IF TG_OP = 'INSERT' THEN
        UPDATE {{tables.orders}} AS o
        SET total_cents = o.total_cents + d.cents
        FROM (SELECT order_id, sum(line_total_cents)::bigint AS cents FROM new_lines GROUP BY order_id) AS d
        WHERE o.id = d.order_id AND d.cents <> 0;
    ELSIF TG_OP = 'DELETE' THEN
        UPDATE {{tables.orders}} AS o
        SET total_cents = o.total_cents - d.cents
        FROM (SELECT order_id, sum(line_total_cents)::bigint AS cents FROM old_lines GROUP BY order_id) AS d
        WHERE o.id = d.order_id AND d.cents <> 0;
    ELSE
        UPDATE {{tables.orders}} AS o
        SET total_cents = o.total_cents + d.cents
        FROM (
            SELECT m.order_id, sum(m.cents)::bigint AS cents
            FROM (
                SELECT order_id, line_total_cents AS cents FROM new_lines
                UNION ALL
                SELECT order_id, -line_total_cents FROM old_lines
            ) AS m
            GROUP BY m.order_id
        ) AS d
        WHERE o.id = d.order_id AND d.cents <> 0;
    END IF;
    RETURN NULL;
END;
$$;

CREATE TRIGGER order_lines_add_totals
    AFTER INSERT ON {{tables.order_lines}}
    REFERENCING NEW TABLE AS new_lines
    FOR EACH STATEMENT
    EXECUTE FUNCTION {{tables.apply_line_totals}}();

CREATE TRIGGER order_lines_change_totals
    AFTER UPDATE ON {{tables.order_lines}}
    REFERENCING OLD TABLE AS old_lines NEW TABLE AS new_lines
    FOR EACH STATEMENT
    EXECUTE FUNCTION {{tables.apply_line_totals}}();

CREATE TRIGGER order_lines_remove_totals
    AFTER DELETE ON {{tables.order_lines}}
    REFERENCING OLD TABLE AS old_lines
    FOR EACH STATEMENT
    EXECUTE FUNCTION {{tables.apply_line_totals}}();

-- Orders from before the triggers. CREATE TRIGGER blocks writes to lines until the commit.
UPDATE {{tables.orders}} AS o
SET total_cents = d.cents
FROM (
    SELECT order_id, sum(line_total_cents)::bigint AS cents
    FROM {{tables.order_lines}}
    GROUP BY order_id
) AS d
WHERE o.id = d.order_id AND o.total_cents <> d.cents;

COMMENT ON COLUMN {{tables.orders}}.total_cents IS 'Sum of the lines, kept by triggers on order_lines.';
