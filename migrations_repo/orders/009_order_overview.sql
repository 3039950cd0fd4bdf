-- For support: orders with the names of buyer and products, which belong to other modules.
CREATE VIEW {{tables.order_overview}} AS
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
       o.currency
FROM {{tables.orders}} AS o
LEFT JOIN {{tables.order_lines}} AS l ON l.order_id = o.id
LEFT JOIN {{tables.catalog.products}} AS p ON p.id = l.product_id
LEFT JOIN {{tables.identity.users}} AS u ON u.id = o.user_id;

COMMENT ON VIEW {{tables.order_overview}} IS
    'One row per line, one for an order without lines. Names are null if the other module has no such id.';
