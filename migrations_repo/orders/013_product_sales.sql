-- Monthly sales per product, refreshed once an hour.
CREATE MATERIALIZED VIEW {{tables.product_sales}} AS
SELECT l.product_id,
       date_trunc('month', o.placed_at AT TIME ZONE 'UTC')::date AS month,
       o.currency,
       sum(l.quantity)                                           AS units,
       sum(l.line_total_cents)::bigint                           AS revenue_cents
FROM {{tables.order_lines}} AS l
JOIN {{tables.orders}} AS o ON o.id = l.order_id
WHERE o.status IN ('paid', 'shipped')
GROUP BY 1, 2, 3;

-- REFRESH ... CONCURRENTLY needs a unique index.
CREATE UNIQUE INDEX product_sales_product_id_month_currency_key
    ON {{tables.product_sales}} (product_id, month, currency);

COMMENT ON MATERIALIZED VIEW {{tables.product_sales}} IS
    'Units and revenue per product, month (UTC) and currency; paid orders only. Refreshed every hour.';
