-- Adds refunds to the overview. OR REPLACE can only add columns at the end.
CREATE OR REPLACE VIEW {{tables.order_overview}} AS
SELECT o.id                  AS order_id,
       o.number,
       o.status,
       o.placed_at,
       u.email               AS customer_email,
       u.display_name        AS customer_name,
       p.sku,
       p.title,
       l.quantity,
       l.unit_price_cents,
       l.line_total_cents,
       o.total_cents,
       o.currency,
       r.refunded_cents,
       r.last_refund_at
FROM {{tables.orders}} AS o
LEFT JOIN {{tables.order_lines}} AS l ON l.order_id = o.id
LEFT JOIN {{tables.catalog.products}} AS p ON p.id = l.product_id
LEFT JOIN {{tables.identity.users}} AS u ON u.id = o.user_id
LEFT JOIN LATERAL (
    SELECT coalesce(sum(f.amount_cents), 0)::bigint AS refunded_cents,
           max(f.created_at)                        AS last_refund_at
    FROM {{tables.payments}} AS y
    JOIN {{tables.refunds}} AS f ON f.payment_id = y.id
    WHERE y.order_id = o.id
) AS r ON true;
