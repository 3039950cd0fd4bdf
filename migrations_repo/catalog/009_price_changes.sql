-- For the pricing review: who changed which price. Names come from the identity module.
CREATE VIEW {{tables.price_changes}} AS
SELECT h.id,
       p.sku,
       p.title,
       h.old_price_cents,
       h.new_price_cents,
       h.currency,
       h.changed_at,
       h.changed_by,
       u.display_name AS changed_by_name
FROM {{tables.price_history}} AS h
JOIN {{tables.products}} AS p ON p.id = h.product_id
LEFT JOIN {{tables.identity.users}} AS u ON u.id = h.changed_by;

COMMENT ON VIEW {{tables.price_changes}} IS
    'Price history with names; changed_by_name is null for jobs and for unknown users.';
