-- The menu shows the number of products in each category and below it; counting for each page was too slow.
CREATE MATERIALIZED VIEW {{tables.category_totals}} AS
WITH RECURSIVE tree (root_id, category_id) AS (
    SELECT c.id, c.id
    FROM {{tables.categories}} AS c
    UNION
    SELECT t.root_id, c.id
    FROM tree AS t
    JOIN {{tables.categories}} AS c ON c.parent_id = t.category_id
)
SELECT t.root_id           AS category_id,
       count(p.id)         AS product_count,
       max(p.published_at) AS newest_at
FROM tree AS t
LEFT JOIN {{tables.products}} AS p ON p.category_id = t.category_id AND p.status = 'active'
GROUP BY t.root_id;

-- REFRESH ... CONCURRENTLY needs a unique index.
CREATE UNIQUE INDEX category_totals_category_id_key ON {{tables.category_totals}} (category_id);

COMMENT ON MATERIALIZED VIEW {{tables.category_totals}} IS
    'Active products per category, subcategories included; refreshed by a job every few minutes.';
